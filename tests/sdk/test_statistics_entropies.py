"""Nucleus, forks and sequence means of token entropies against their definitions, written out token by token."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from foreshock.measure.statistics import entropies, nucleus, openness

torch.set_num_threads(1)


def noise(*shape: int, std: float = 2.0, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * std


def nucleus_of(logits: list[float]) -> tuple[float, int]:
    """Entropy of the fewest likeliest tokens that hold 95 %, made to sum to one, and their number."""
    peak = max(logits)
    p = sorted((math.exp(z - peak) for z in logits), reverse=True)
    whole, kept = math.fsum(p), []
    while math.fsum(kept) < 0.95 * whole:
        kept.append(p[len(kept)])
    inside = math.fsum(kept)
    return -math.fsum(w / inside * math.log(w / inside) for w in kept), len(kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_nucleus_is_that_of_the_definition(dtype: torch.dtype) -> None:
    logits = noise(12, 400).to(dtype)
    logits[1] += 60.0
    logits[2, 300:] = -math.inf
    logits[3, 5] = 30.0
    logits[4, [5, 9]] = 25.0
    found = nucleus.within(logits, torch.arange(12)).double()
    for row, (entropy, size) in zip(logits.double().tolist(), found.T.tolist(), strict=True):
        expected, tokens = nucleus_of(row)
        likeliest = sorted(row, reverse=True)
        ties = likeliest.count(likeliest[tokens - 1])  # as likely as the last one: they are taken in as well
        assert tokens <= size <= tokens + ties + 4  # or all but as likely
        assert entropy == pytest.approx(expected, abs=2e-4 + 0.02 * (size - tokens))


def test_the_nucleus_of_flat_certain_and_broken_tokens() -> None:
    logits = torch.zeros(6, 100)
    logits[1, 3] = 1000.0
    logits[2, 7], logits[3, 7], logits[4] = math.nan, math.inf, -math.inf
    logits[5] = -math.inf
    logits[5, 60] = -7.0
    entropy, size = nucleus.within(logits, torch.arange(6)).tolist()
    assert (entropy[0], size[0]) == (pytest.approx(math.log(100), abs=1e-5), 100)  # all are as likely
    assert (entropy[1], size[1]) == (entropy[5], size[5]) == (0.0, 1.0)
    assert all(math.isnan(x) for x in (*entropy[2:5], *size[2:5]))


def test_the_nucleus_of_a_batch_is_the_share_of_the_rows_looked_at_times_the_mean() -> None:
    logits = noise(6, 50)
    logits[4] = math.nan
    weight = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    rows = torch.arange(6)
    inner, size = nucleus.within(logits, rows)
    own = torch.tensor([3.0, 2.0, math.nan, 1.0, math.nan, math.nan])
    value = nucleus.measure(logits, rows, own, weight, torch.tensor(5.0))
    assert value[0].item() == pytest.approx(5.0 * inner[[0, 1, 3]].sum().item() / 6.0, rel=1e-6)
    assert value[1].item() == pytest.approx(size[[0, 1, 3]].mean().item(), rel=1e-6)
    certain = nucleus.measure(logits, rows, torch.zeros(6), weight, torch.tensor(0.0))
    assert certain[0].item() == 0.0
    assert nucleus.measure(logits, rows, own, torch.zeros(6), torch.tensor(5.0)).isnan().all()


@pytest.mark.parametrize(("count", "each"), [(8192, 128), (8192, 2048), (1000, 10)])
def test_the_rows_looked_at_are_spread_and_out_of_step_with_the_sequences(count: int, each: int) -> None:
    picked = nucleus.positions(count, 60_000, torch.empty(0))
    assert len(picked) == nucleus.VALUES // 60_000 == len(picked.unique())
    assert 0 <= picked.min() < count // len(picked)
    assert count - 2 * (count // len(picked)) <= picked.max() < count
    within = (picked % each).double() / each
    assert abs(within.mean().item() - 0.5) < 0.1
    assert nucleus.positions(40, 100, torch.empty(0)).tolist() == list(range(40))


# -- sequences and forks ---------------------------------------------------------------------------------------------


def test_a_long_sequence_weighs_as_much_as_a_short_one() -> None:
    entropy = torch.tensor([1.0, 3.0, 10.0, math.nan, 5.0, 7.0])
    good = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 1.0])
    sequence = torch.tensor([0, 0, 2, 2, 1, 0])
    expected = ((1 + 3 + 7) / 3 + 10) / 2  # the second sequence has no token that counts
    found = entropies.per_sequence(entropy, good, sequence, 4)
    assert found.item() == pytest.approx(expected)
    assert entropies.per_sequence(entropy, torch.zeros(6), sequence, 4).isnan().all()


def forks(entropy: Tensor, baseline: Tensor, good: Tensor | None = None) -> list[float]:
    good = torch.ones_like(entropy) if good is None else good
    return entropies.forks(entropy, good, entropy[good > 0].quantile(0.8), baseline).tolist()


def test_the_threshold_of_forks_is_kept_after_its_first_records() -> None:
    baseline, thresholds = torch.zeros(2), []
    for record in range(entropies.RECORDS):
        entropy = noise(1000, std=1.0, seed=record).abs() + 0.1 * record
        share, mean, threshold = forks(entropy, baseline)
        thresholds.append(entropy.quantile(0.8).item())
        expected = sum(thresholds) / len(thresholds)
        assert threshold == pytest.approx(expected, rel=1e-5)
        assert share == pytest.approx((entropy > expected).float().mean().item(), abs=2e-3)
        assert mean == pytest.approx(entropy[entropy > expected].mean().item(), rel=1e-3)
    collapsed = noise(1000, std=0.3, seed=99).abs()
    share, mean, threshold = forks(collapsed, baseline)
    assert threshold == pytest.approx(sum(thresholds) / len(thresholds), rel=1e-5)
    assert share < 0.02
    assert baseline[0].item() == entropies.RECORDS


def test_a_record_without_tokens_does_not_move_the_threshold_of_forks() -> None:
    baseline = torch.zeros(2)
    nothing = entropies.forks(torch.ones(3), torch.zeros(3), torch.tensor(math.nan), baseline)
    assert nothing.isnan().all()
    assert baseline.tolist() == [0.0, 0.0]
    entropy = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])
    share, mean, threshold = forks(entropy, baseline)
    assert (share, mean) == (pytest.approx(0.2), 4.0)
    assert threshold == pytest.approx(3.2)
    after = entropies.forks(entropy, torch.ones(5), torch.tensor(math.nan), baseline)
    assert after.tolist() == pytest.approx([0.2, 4.0, 3.2])
    below = forks(entropy * 0.5, baseline)
    assert baseline[0].item() == 2
    assert below[0] == 0.0
    assert math.isnan(below[1])  # no token above it: there is no mean


def test_masked_and_broken_tokens_are_no_forks() -> None:
    entropy = torch.tensor([0.0, 1.0, 2.0, 9.0, math.nan])
    good = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])
    share, mean, threshold = entropies.forks(entropy, good, torch.tensor(1.6), torch.zeros(2)).tolist()
    assert share == pytest.approx(1 / 3)
    assert (mean, threshold) == (2.0, pytest.approx(1.6))


# -- together ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("made", [False, True])
def test_openness_is_what_its_parts_say(sampled: bool, made: bool) -> None:
    hidden, head, bias = noise(3, 5, 16, seed=1), noise(40, 16, std=0.5, seed=2), noise(40, seed=3)
    logits = (hidden @ head.T + bias) / 0.7
    rows = torch.tensor([14, 0, 7, 3]) if sampled else None
    own = logits.reshape(15, 40) if rows is None else logits.reshape(15, 40)[rows]
    logp = own.double().log_softmax(1)
    entropy = -(logp.exp() * logp).sum(1)
    weight = (torch.arange(len(own)) != 2).double()
    entropy[3] = math.nan  # as of a token whose logits are bad
    counts = [i for i in range(len(own)) if i not in (2, 3)]
    state = torch.zeros(openness.STATE)
    found = openness.measure(
        {"logits": logits} if made else {"hidden": hidden, "head": head, "bias": bias},
        rows,
        entropy,
        weight,
        entropy[counts].mean(),
        entropy[counts].quantile(0.8),
        state,
        sequences=True,
        scale=1 / 0.7,
    )
    inner = [nucleus_of(own[i].tolist()) for i in counts]
    places = list(range(15)) if rows is None else rows.tolist()
    by_sequence: dict[int, list[float]] = {}
    for i in counts:
        by_sequence.setdefault(places[i] // 5, []).append(entropy[i].item())
    threshold = entropy[counts].quantile(0.8).item()
    forked = [entropy[i].item() for i in counts if entropy[i] > threshold]
    expected = [
        sum(h for h, _ in inner) / len(inner),
        sum(n for _, n in inner) / len(inner),
        len(forked) / len(counts),
        sum(forked) / len(forked),
        threshold,
        sum(sum(one) / len(one) for one in by_sequence.values()) / len(by_sequence),
    ]
    assert len(openness.series(sequences=True)) == len(found) == len(openness.series(sequences=False)) + 1
    for spec, value, wanted in zip(openness.series(sequences=True), found.tolist(), expected, strict=True):
        assert value == pytest.approx(wanted, rel=0.02 if "nucleus" in spec.statistic else 1e-5)
    assert state.tolist() == pytest.approx([1.0, threshold])
