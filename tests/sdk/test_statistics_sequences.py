"""Variety, repetition and length of text, and how far responses depend on prompts, against their definitions as sets and loops."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from foreshock.measure.statistics import distinction, sequences
from foreshock.testing import recording

torch.set_num_threads(1)
LEVELS = torch.tensor([percent / 100 for percent in sequences.PERCENTILES])


def text(count: int, length: int, vocabulary: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, vocabulary, (count, length), generator=g)
    valid = torch.arange(length) < torch.randint(0, length + 1, (count, 1), generator=g)
    return tokens, valid


def read(tokens: Tensor, valid: Tensor | None = None, **told: Tensor) -> dict[str, float]:
    given = {
        "tokens": tokens,
        "valid": torch.ones(tokens.shape, dtype=torch.bool) if valid is None else valid,
    }
    given |= {"levels": LEVELS, **told}
    row = sequences.measure(given)
    keys = [
        spec.key.removesuffix("{place=s}").replace(",place=s", "") for spec in sequences.series("s", given)
    ]
    return dict(zip(keys, row.tolist(), strict=True))


def ngrams(tokens: Tensor, valid: Tensor, n: int) -> list[list[tuple[int, tuple[int, ...]]]]:
    """Of each sequence, the place and the tokens of every n-gram whose tokens are all valid."""
    return [
        [(t, tuple(row[t : t + n])) for t in range(len(row) - n + 1) if all(ok[t : t + n])]
        for row, ok in zip(tokens.tolist(), valid.tolist(), strict=True)
    ]


def by_definition(tokens: Tensor, valid: Tensor) -> dict[str, float]:
    found: dict[str, float] = {}
    for n in range(1, 5):
        every = [gram for row in ngrams(tokens, valid, n) for _, gram in row]
        found[f"distinct_ngrams{{n={n}}}"] = len(set(every)) / len(every) if every else math.nan
    rows = ngrams(tokens, valid, 4)
    homes: dict[tuple[int, ...], set[int]] = defaultdict(set)
    for number, row in enumerate(rows):
        for _, gram in row:
            homes[gram].add(number)
    shared = [len(homes[gram]) > 1 for row in rows for _, gram in row]
    found["shared_ngrams"] = sum(shared) / len(shared) if shared else math.nan
    longest = []
    for row, ok in zip(rows, valid.tolist(), strict=True):
        if not any(ok):
            continue
        seen: set[tuple[int, ...]] = set()
        best = run = 0
        last = -2
        for place, gram in row:
            run = (run + 1 if place == last + 1 else 1) if gram in seen else 0
            best, last = max(best, run), place
            seen.add(gram)
        longest.append(best)
    found["repeat_run"] = sum(longest) / len(longest) if longest else math.nan
    found["loop_share"] = sum(run >= 32 for run in longest) / len(longest) if longest else math.nan
    lengths = valid.sum(1).double().numpy()
    found["response_length"] = float(lengths.mean())
    for percent in (50, 95, 99):
        found[f"response_length_p{percent}"] = float(np.quantile(lengths, percent / 100))
    return found


@pytest.mark.parametrize(
    ("count", "length", "vocabulary"), [(12, 30, 3), (5, 60, 2), (1, 20, 9), (40, 3, 4), (3, 1, 2)]
)
@pytest.mark.parametrize("seed", range(2))
def test_text_reads_as_sets_and_loops_say(count: int, length: int, vocabulary: int, seed: int) -> None:
    tokens, valid = text(count, length, vocabulary, seed)
    assert read(tokens, valid) == pytest.approx(by_definition(tokens, valid), rel=1e-5, nan_ok=True)


def test_masks_may_have_holes_and_what_they_hide_anything() -> None:
    tokens, valid = text(10, 40, 3)
    valid &= torch.rand(10, 40, generator=torch.Generator().manual_seed(5)) > 0.15
    hidden = torch.where(valid, tokens, -(2**40))
    assert read(hidden, valid) == pytest.approx(by_definition(tokens, valid), rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_any_integers_will_do(dtype: torch.dtype) -> None:
    tokens, valid = text(8, 30, 100)
    assert read(tokens.to(dtype), valid) == pytest.approx(read(tokens, valid), nan_ok=True)


def test_large_vocabularies_do_not_collide() -> None:
    g = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 200_000, (16, 1000), generator=g)
    every = torch.ones(tokens.shape, dtype=torch.bool)
    assert read(tokens) == pytest.approx(by_definition(tokens, every), rel=1e-6)
    huge = tokens + 2**61
    assert read(huge)["distinct_ngrams{n=4}"] == pytest.approx(
        by_definition(huge, every)["distinct_ngrams{n=4}"]
    )


def test_a_loop_is_found_and_a_period_is_not_needed() -> None:
    g = torch.Generator().manual_seed(0)
    plain = torch.randint(0, 50_000, (4, 120), generator=g)
    looped = plain.clone()
    looped[0, 20:] = torch.arange(7).repeat(15)[:100]  # a loop of seven tokens to the end
    looped[1, 60:] = looped[1, :60]  # all of it once more, word by word
    found = read(looped)
    assert found["loop_share"] == 0.5
    assert found["repeat_run"] == pytest.approx((90 + 57) / 4)
    assert read(plain)["loop_share"] == 0.0


def test_one_answer_to_everything_shares_all_and_a_single_one_nothing() -> None:
    tokens, _ = text(1, 50, 1000)
    assert read(tokens.expand(6, 50))["shared_ngrams"] == 1.0
    assert read(tokens)["shared_ngrams"] == 0.0
    constant = read(torch.zeros(4, 64, dtype=torch.int64))
    assert constant["distinct_ngrams{n=1}"] == pytest.approx(1 / 256)
    assert constant["loop_share"] == 1.0


def test_of_a_large_batch_the_same_number_of_tokens_is_read_of_sequences_spread_over_it() -> None:
    tokens, valid = text(400, 200, 30)
    rows = sequences.READ // 200
    at = torch.arange(rows) * 400 // rows
    whole, part = read(tokens, valid), by_definition(tokens[at], valid[at])
    lengths = {key: value for key, value in by_definition(tokens, valid).items() if "length" in key}
    assert whole == pytest.approx({**part, **lengths}, rel=1e-5)


def test_a_sequence_longer_than_what_is_read_is_read_from_its_start() -> None:
    tokens, _ = text(2, sequences.READ + 100, 50)
    start = tokens[:1, : sequences.READ]
    found = read(tokens)
    assert found["distinct_ngrams{n=2}"] == pytest.approx(read(start)["distinct_ngrams{n=2}"])
    assert found["response_length"] == sequences.READ + 100


def test_what_the_loop_says_of_sequences_is_averaged() -> None:
    tokens, valid = text(8, 10, 5)
    finished = torch.tensor([1, 1, 1, 0, 0, 1, 1, 1])
    found = read(tokens, valid, finished=finished, invalid=torch.arange(8) == 3)
    assert found["truncated_share"] == pytest.approx(0.25)
    assert found["invalid_share"] == pytest.approx(0.125)
    assert "truncated_share" not in read(tokens, valid)


def test_nothing_valid_reads_nan_and_length_zero() -> None:
    tokens, _ = text(4, 10, 5)
    found = read(tokens, torch.zeros(4, 10, dtype=torch.bool))
    assert found["response_length"] == found["response_length_p99"] == 0.0
    assert all(math.isnan(found[key]) for key in found if "length" not in key)


def test_the_order_of_sequences_and_names_of_tokens_do_not_matter() -> None:
    tokens, valid = text(20, 30, 6)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    names = torch.tensor([99, -4, 2**50, 0, 17, 3])
    assert read(names[tokens[order]], valid[order]) == pytest.approx(read(tokens, valid), rel=1e-5)


# -- responses ---------------------------------------------------------------------------------------------------------


def eta(x: Tensor, groups: list[int]) -> float:
    """Bias-corrected share of the variance that lies between groups, one response at a time."""
    rows = list(x.double().numpy())
    kept = [(row, name) for row, name in zip(rows, groups, strict=True) if np.isfinite(row).all()]
    mean = np.mean([row for row, _ in kept], 0)
    total = sum(float(((row - mean) ** 2).sum()) for row, _ in kept)
    between = 0.0
    names = {name for _, name in kept}
    for name in names:
        of = [row for row, other in kept if other == name]
        between += len(of) * float(((np.mean(of, 0) - mean) ** 2).sum())
    bias = (len(names) - 1) / (len(kept) - 1)
    return (between / total - bias) / (1 - bias)


def states(count: int, width: int, groups: list[int], pull: float, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, width, generator=g)
    of = {name: torch.randn(width, generator=g) for name in sorted(set(groups))}
    return noise + pull * torch.stack([of[name] for name in groups])


@pytest.mark.parametrize("pull", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_share_between_prompts_agrees_with_the_definition(pull: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    groups = [[-7, 0, 10**15, 3][int(i)] for i in torch.randint(0, 4, (40,), generator=g)]
    x = states(40, 16, groups, pull, seed)
    value, count = distinction.measure(x, torch.tensor(groups)).tolist()
    assert value == pytest.approx(eta(x, groups), abs=2e-6)
    assert count == 40


def test_groups_of_one_size_read_as_numbered_ones() -> None:
    x = states(24, 8, [n // 4 for n in range(24)], 1.0)
    numbered = distinction.measure(x, torch.arange(24) // 4)
    assert torch.allclose(distinction.measure(x, 4), numbered, rtol=1e-5)
    shuffled = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    again = distinction.measure(x[shuffled], (torch.arange(24) // 4)[shuffled])
    assert torch.allclose(again, numbered, rtol=1e-5)


def test_chance_reads_zero_on_average_and_a_template_does_too() -> None:
    groups = [n // 8 for n in range(64)]
    chance = [distinction.measure(states(64, 32, groups, 0.0, seed), 8)[0].item() for seed in range(40)]
    assert abs(sum(chance) / 40) < 0.005
    perfect = states(64, 32, groups, 1.0) * 0 + torch.randn(8, 32).repeat_interleave(8, 0)
    assert distinction.measure(perfect, 8)[0].item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_share_does_not_depend_on_scale_or_offset(scale: float) -> None:
    groups = [n // 4 for n in range(32)]
    x = states(32, 8, groups, 1.0)
    expected = eta(x, groups)
    assert distinction.measure(x * scale, 4)[0].item() == pytest.approx(expected, rel=1e-4)
    assert distinction.measure(x + 1000, 4)[0].item() == pytest.approx(expected, rel=1e-2)


def test_broken_responses_are_left_out() -> None:
    groups = [n // 4 for n in range(32)]
    x = states(32, 8, groups, 1.0)
    x[3, 2], x[9, 0] = math.nan, math.inf
    value, count = distinction.measure(x, 4).tolist()
    assert value == pytest.approx(eta(x, groups), abs=1e-5)
    assert count == 30
    x[:17] = math.nan
    assert distinction.measure(x, 4)[0].isnan()


def test_what_tells_nothing_reads_nan_or_zero() -> None:
    x = states(8, 4, list(range(8)), 0.0)
    assert distinction.measure(x, 1)[0].isnan()  # every prompt has one response
    assert distinction.measure(x, 8)[0].isnan()  # one prompt
    assert distinction.measure(torch.full((8, 4), 0.1), 4)[0].item() == 0.0
    assert distinction.measure(torch.zeros(8, 4), 4)[0].item() == 0.0


@pytest.mark.parametrize("chunk", [1, 45, 1 << 24])
def test_states_are_averaged_over_the_tokens_that_count(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinction, "CHUNK", chunk)
    x = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(6, 5, generator=torch.Generator().manual_seed(1)) > 0.3
    mask[:, 0] = True
    expected = torch.stack([row[keep].mean(0) for row, keep in zip(x, mask, strict=True)])
    assert torch.allclose(distinction.pooled(x, mask), expected, atol=1e-6)
    half = distinction.pooled(x.bfloat16(), mask)
    assert torch.equal(half, distinction.pooled(x.bfloat16().float(), mask))
    x[mask.logical_not()] = math.nan  # padding may hold anything
    assert torch.allclose(distinction.pooled(x, mask), expected, atol=1e-6)
    mask[2] = False
    assert distinction.pooled(x, mask)[2].isnan().all()


# -- scores under each prompt ------------------------------------------------------------------------------------------


def told(scores: np.ndarray, own: list[int]) -> float:
    """The mutual information by its definition, in float64."""
    terms = []
    for row, column in zip(np.asarray(scores, np.float64), own, strict=True):
        others = np.exp(row - row[column])
        terms.append(-math.log(math.fsum(others) / len(row)))
    return math.fsum(terms) / len(terms)


@pytest.mark.parametrize("offset", [0.0, -5000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_responses_tell_agrees_with_the_definition(offset: float, dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    scores = (3 * torch.randn(24, 8, generator=g, dtype=torch.float64) + offset).to(dtype)
    own = torch.randint(0, 8, (24,), generator=g)
    scores[torch.arange(24), own] += 2
    found = distinction.information(scores, own).item()
    assert found == pytest.approx(told(scores.double().numpy(), own.tolist()), rel=1e-6)


def test_it_is_nothing_for_a_template_and_ln_p_for_responses_that_fit_one_prompt() -> None:
    own = torch.arange(8)
    assert distinction.information(torch.full((8, 8), -300.0), own).item() == 0
    impossible = torch.full((8, 8), -math.inf).fill_diagonal_(-20.0)
    assert distinction.information(impossible, own).item() == pytest.approx(math.log(8))
    backwards = torch.zeros(8, 8).fill_diagonal_(-9.0)
    assert distinction.information(backwards, own).item() < -5


def test_responses_without_a_score_are_left_out_and_half_of_them_are_too_many() -> None:
    g = torch.Generator().manual_seed(1)
    scores, own = torch.randn(9, 4, generator=g), torch.arange(9) % 4
    expected = told(scores[4:].numpy(), own[4:].tolist())
    scores[0, 2], scores[1, 1], scores[2, 0] = math.nan, -math.inf, math.inf
    own[3] = 4
    assert distinction.information(scores, own).item() == pytest.approx(expected, rel=1e-6)
    own[4] = -1
    assert distinction.information(scores, own).isnan().all()
    assert distinction.information(torch.randn(3, 1), torch.zeros(3).long()).isnan().all()


# -- through a run -----------------------------------------------------------------------------------------------------


def test_both_are_recorded_by_name_at_the_cadence_of_diversity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    tokens, valid = text(8, 40, 30)
    hidden = torch.randn(8, 40, 6, requires_grad=True)
    with recording(every={"diversity": 2}) as recorded:
        for _ in range(4):
            recorded.run.observe.sequences(tokens, mask=valid, finished=valid.all(1), name="answers")
            recorded.run.observe.responses("last layer", hidden, 4, mask=torch.ones(8, 40))
            recorded.run.step()
        lengths = recorded.columns("response_length{place=answers}")
        assert lengths.steps.tolist() == [0, 2]
        assert lengths.values[0] == pytest.approx(valid.sum(1).float().mean().item())
        shares = recorded.columns("response_distinction{place=last layer}")
        expected = eta(hidden.detach().mean(1), [n // 4 for n in range(8)])
        assert shares.values[0] == pytest.approx(expected, abs=1e-5)


def test_cross_scores_are_recorded_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    scores = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with recording(every={"diversity": 1}) as recorded:
        for prompts in (2, torch.arange(6) // 2):
            recorded.run.observe.cross_scores("answers", scores, prompts=prompts)
            recorded.run.step()
        found = recorded.columns("response_information{place=answers}")
    assert found.values == pytest.approx([told(scores.detach().numpy(), [0, 0, 1, 1, 2, 2])] * 2)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda o: o.cross_scores("a", [[1.0]]), r"scores is a list; pass ln p of each response"),
        (lambda o: o.cross_scores("a", torch.zeros(4)), r"shape \[4\].*\[responses, prompts\]"),
        (
            lambda o: o.cross_scores("a", torch.zeros(4, 3)),
            "do not agree; pass how many responses each of the 3",
        ),
        (lambda o: o.cross_scores("a", torch.zeros(4, 3), prompts=torch.ones(4)), "pass the column"),
        (lambda o: o.sequences([[1]]), "tokens is a list; pass the ids of what was generated"),
        (lambda o: o.sequences(torch.zeros(3, 4)), "dtype torch.float32; pass the ids"),
        (lambda o: o.sequences(torch.zeros(3).long()), r"shape \[3\].*\[sequences, tokens\]"),
        (
            lambda o: o.sequences(torch.zeros(3, 4).long(), mask=torch.ones(3)),
            r"mask has shape \[3\]; pass one entry per token, \[3, 4\]",
        ),
        (
            lambda o: o.sequences(torch.zeros(3, 4).long(), finished=True),
            r"finished has shape bool; pass one entry per sequence, \[3\]",
        ),
        (lambda o: o.responses("h", torch.zeros(4, 2).long(), 2), "pass activations"),
        (lambda o: o.responses("h", None, 2), "states is a NoneType; pass activations"),
        (lambda o: o.responses("h", torch.zeros(4, 2), 3), "groups=3 does not divide the 4 responses"),
        (
            lambda o: o.responses("h", torch.zeros(4, 2), torch.zeros(3).long()),
            r"one integer per response, \[4\]",
        ),
        (
            lambda o: o.responses("h", torch.zeros(4, 2), 2, mask=torch.ones(4)),
            "one entry per token of states",
        ),
    ],
)
def test_what_does_not_fit_is_answered_with_what_to_pass(
    call: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    with recording() as recorded, pytest.raises(ValueError, match=told):
        call(recorded.run.observe)


def test_empty_batches_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    with recording() as recorded:
        recorded.run.observe.sequences(torch.zeros(0, 4).long())
        recorded.run.observe.sequences(torch.zeros(3, 0).long())
        recorded.run.observe.responses("h", torch.zeros(0, 4), torch.zeros(0).long())
        recorded.run.step()
        assert not [key for key in recorded.series() if "place=h" in key or "sequences" in key]
