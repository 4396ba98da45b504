"""What attention looks at, against its definition written out in float64: per head, masked, shared, sampled, and broken input."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from foreshock.measure.statistics import attention, attention_kernel

torch.set_num_threads(1)
NAMES = ("entropy", "normalized", "sink", "held", "spread", "highest", "bound", "bad")
LEVELS = torch.tensor(attention.LEVELS)
UNIFORM = torch.rand(attention.QUERIES, generator=torch.Generator().manual_seed(1))
Array = NDArray[np.float64]


def drawn(*shape: int, seed: int = 0, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)


def twin(
    q: Tensor,
    k: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    softcap: float | None = None,
) -> dict[str, Array]:
    """By the definition, query by query."""
    n, heads, queries, width = q.shape
    keys = k.shape[2]
    bias = np.zeros((n, heads, queries, keys))
    if mask is not None:
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape).masked_fill(~mask, -math.inf)
        bias = np.broadcast_to(mask.double().numpy(), bias.shape).copy()
        bias[bias <= -9000] = -math.inf
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    for h in range(heads):
        of = h // (heads // k.shape[1])
        rows: dict[str, list[float]] = {name: [] for name in NAMES}
        longest = 0.0
        bad = 0
        for b in range(n):
            x, y = q[b, h].double().numpy(), k[b, of].double().numpy()
            lengths = [np.linalg.norm(part, axis=1) for part in (x, y)]
            longest = max(
                longest, float(np.prod([max(one[np.isfinite(one)], default=0.0) for one in lengths]))
            )
            seen_at_all = [
                j
                for j in range(keys)
                if any(bias[b, :, i, j].max() > -math.inf and not (causal and j > i) for i in range(queries))
            ]
            for i in range(queries):
                s = (x[i] @ y.T) * (scale if scale is not None else width**-0.5)
                if softcap is not None:
                    s = softcap * np.tanh(s / softcap)
                allowed = [j for j in range(keys) if not (causal and j > i) and bias[b, h, i, j] != -math.inf]
                if len(allowed) < 2:
                    continue
                s = s[allowed] + bias[b, h, i, allowed]
                if not np.isfinite(s).all():
                    bad += 1
                    continue
                p = np.exp(s - s.max())
                p /= p.sum()
                entropy = -sum(v * math.log(v) for v in p if v > 0)
                sink = float(p[allowed.index(seen_at_all[0])]) if seen_at_all[0] in allowed else 0.0
                for name, value in (
                    ("entropy", entropy),
                    ("normalized", entropy / math.log(len(allowed))),
                    ("sink", sink),
                    ("held", float(sink > 0.9)),
                    ("spread", s.std()),
                    ("highest", s.max()),
                ):
                    rows[name].append(value)
        for name in ("entropy", "normalized", "sink", "held", "spread"):
            found[name].append(float(np.mean(rows[name])) if rows[name] else math.nan)
        found["highest"].append(max(rows["highest"], default=math.nan))
        bound = longest * (scale if scale is not None else width**-0.5)
        found["bound"].append(softcap * math.tanh(bound / softcap) if softcap is not None else bound)
        found["bad"].append(bad)
    return {name: np.array(values) for name, values in found.items()}


def ours(q: Tensor, k: Tensor, **options: object) -> dict[str, Array]:
    found = attention.of_queries(q, k, UNIFORM, **options)  # type: ignore[arg-type]  # as it takes them
    return {name: values.double().numpy() for name, values in zip(NAMES, found, strict=True)}


def agree(found: dict[str, Array], expected: dict[str, Array], tolerance: float = 2e-5) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=tolerance, atol=tolerance, err_msg=name)


PADDED = torch.ones(2, 1, 1, 9, dtype=torch.bool)
PADDED[0, ..., :3] = False  # on the left
PADDED[1, ..., 6:] = False  # on the right
WINDOW = torch.ones(7, 9, dtype=torch.bool).tril(1).triu(-2)
SLOPES = -torch.arange(1, 5).reshape(4, 1, 1) * 0.1 * (torch.arange(9) - torch.arange(7).unsqueeze(1)).abs()
CASES: dict[str, dict[str, object]] = {
    "full": {},
    "causal": {"causal": True},
    "scaled": {"scale": 0.9},
    "soft cap": {"softcap": 2.0, "scale": 1.0},
    "padded": {"mask": PADDED},
    "padded and causal": {"mask": PADDED, "causal": True},
    "window": {"mask": WINDOW},
    "bias by distance": {"mask": SLOPES.float(), "causal": True},
    "bias per sequence and head": {"mask": drawn(2, 4, 7, 9, seed=5)},
    "bias that hides by the least number": {
        "mask": torch.zeros(2, 1, 1, 9).masked_fill(~PADDED, torch.finfo(torch.float32).min)
    },
    "bias that hides by -10000 in half": {"mask": torch.zeros(7, 9).masked_fill(~WINDOW, -1e4).bfloat16()},
}


@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("case", CASES)
def test_every_head_is_what_its_definition_says(case: str, groups: int) -> None:
    q, k = drawn(2, 4, 7, 8, scale=2.0), drawn(2, groups, 9, 8, seed=1)
    agree(ours(q, k, **CASES[case]), twin(q, k, **CASES[case]))  # type: ignore[arg-type]  # as it takes them


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_read_as_they_are_and_computed_with_in_float32(dtype: torch.dtype) -> None:
    q, k = drawn(2, 4, 7, 8, scale=3.0, dtype=dtype), drawn(2, 2, 9, 8, seed=1, dtype=dtype)
    agree(ours(q, k, causal=True), twin(q, k, causal=True))


def test_heads_of_equal_logits_read_one_and_sharp_heads_zero() -> None:
    q = torch.zeros(1, 2, 5, 4)
    k = torch.eye(6, 4).expand(1, 2, 6, 4).clone()
    q[:, 1, :, 0] = 1e4
    found = ours(q, k, scale=1.0)
    np.testing.assert_allclose(found["normalized"], [1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(found["entropy"], [math.log(6), 0.0], atol=1e-6)
    np.testing.assert_allclose(found["sink"], [1 / 6, 1.0], atol=1e-6)
    np.testing.assert_allclose(found["held"], [0.0, 1.0])
    np.testing.assert_allclose(found["highest"], [0.0, 1e4])
    np.testing.assert_allclose(found["bound"], [0.0, 1e4])


def test_one_query_reads_all_its_keys_as_in_generation() -> None:
    q, k = drawn(3, 2, 1, 8), drawn(3, 2, 12, 8, seed=1)
    agree(ours(q, k), twin(attention.few(q, 3), attention.few(k, 3)))


def test_queries_that_see_less_than_two_keys_do_not_count() -> None:
    q, k = drawn(1, 2, 6, 8), drawn(1, 2, 6, 8, seed=1)
    mask = torch.ones(6, 6, dtype=torch.bool)
    mask[2] = False  # sees nothing: a softmax of it would be NaN
    mask[3] = torch.arange(6) == 5  # one key
    agree(ours(q, k, mask=mask), twin(q, k, mask=mask))
    assert ours(q, k, mask=mask)["bad"].sum() == 0


@pytest.mark.parametrize("causal", [True, False])
def test_without_a_choice_there_is_no_reading(causal: bool) -> None:
    found = ours(drawn(2, 3, 1, 4), drawn(2, 3, 1, 4, seed=1), causal=causal)
    assert all(np.isnan(found[name]).all() for name in NAMES[:-1])
    row = attention.layer(attention.of_queries(drawn(2, 3, 1, 4), drawn(2, 3, 1, 4), UNIFORM), 3, LEVELS)
    values = named(row, 3)
    assert values.pop("nonfinite_count{tensor=attention}") == 0
    assert all(math.isnan(value) for value in values.values())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_queries_that_are_not_finite_are_counted_and_left_out(value: float) -> None:
    q, k = drawn(2, 4, 7, 8), drawn(2, 4, 9, 8, seed=1).abs()
    q[0, 1, 3] = value
    q[1, 1, 2, 5] = value
    agree(ours(q, k), twin(q, k))
    assert list(ours(q, k)["bad"]) == [0, 2, 0, 0]


def test_a_head_with_a_broken_key_reads_nothing_and_the_layer_leaves_it_out() -> None:
    q, k = drawn(2, 4, 7, 8), drawn(2, 4, 9, 8, seed=1)
    k[:, 2, 4, 0] = math.nan
    found = ours(q, k)
    assert np.isnan(found["normalized"]).tolist() == [False, False, True, False]
    assert list(found["bad"]) == [0, 0, 14, 0]
    values = named(attention.layer(attention.of_queries(q, k, UNIFORM), 4, LEVELS), 4)
    others = found["normalized"][[0, 1, 3]]
    assert values["attention_entropy_normalized{heads=mean}"] == pytest.approx(others.mean(), rel=1e-6)
    assert values["attention_entropy_normalized{heads=min}"] == pytest.approx(others.min(), rel=1e-6)
    assert values["nonfinite_count{tensor=attention}"] == 14
    assert math.isnan(values["attention_entropy_normalized{head=2}"])


def test_a_broken_key_behind_the_mask_does_no_harm() -> None:
    q, k = drawn(1, 2, 5, 8), drawn(1, 2, 6, 8, seed=1)
    mask = torch.ones(6, dtype=torch.bool)
    mask[4] = False
    expected = ours(q, k, mask=mask)
    k[:, :, 4] = math.nan
    found = ours(q, k, mask=mask)
    agree(
        {name: found[name] for name in NAMES if name != "bound"},
        {name: expected[name] for name in NAMES if name != "bound"},
    )


@pytest.mark.parametrize("scale", [1e3, 1e9, 1e15])
def test_huge_logits_are_read(scale: float) -> None:
    q, k = drawn(2, 2, 7, 8, scale=scale), drawn(2, 2, 9, 8, seed=1)
    found, expected = ours(q, k), twin(q, k)
    agree(found, expected, 1e-4)
    assert found["highest"].max() > 0.1 * scale


def test_a_large_common_offset_of_the_logits_changes_nothing() -> None:
    q, k = drawn(1, 1, 7, 8), drawn(1, 1, 9, 8, seed=1)
    moved = torch.full((7, 9), 1000.0)
    here, there = ours(q, k), ours(q, k, mask=moved)
    for name in ("entropy", "normalized", "sink", "spread"):
        np.testing.assert_allclose(there[name], here[name], rtol=1e-3)


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k = drawn(2, 6, 30, 8), drawn(2, 3, 40, 8, seed=1)
    options = {"mask": drawn(2, 6, 30, 40, seed=2) > -1, "causal": True}
    whole = ours(q, k, **options)
    for elements in (1, 500, 2 * 2 * 30 * 40, 2 * 2 * 30 * 40 + 1):
        monkeypatch.setattr(attention, "ELEMENTS", {"cpu": elements})
        agree(ours(q, k, **options), whole, 1e-6)


def test_the_order_of_keys_and_of_heads_makes_no_difference() -> None:
    q, k = drawn(2, 4, 7, 8), drawn(2, 4, 9, 8, seed=1)
    order, heads = torch.tensor([0, 4, 2, 8, 1, 7, 3, 6, 5]), torch.tensor([2, 0, 3, 1])
    agree(ours(q, k[:, :, order]), ours(q, k), 1e-6)
    agree(ours(q[:, heads], k[:, heads]), {n: v[heads.numpy()] for n, v in ours(q, k).items()}, 1e-6)


def test_of_many_queries_one_of_each_stretch_is_read() -> None:
    rows = attention.places(1024, UNIFORM)
    assert len(rows) == attention.QUERIES
    assert torch.equal(rows * attention.QUERIES // 1024, torch.arange(attention.QUERIES))
    assert torch.equal(attention.places(1000, torch.ones(attention.QUERIES))[-1:], torch.tensor([999]))
    assert torch.equal(attention.places(5, UNIFORM), torch.arange(5))


def test_a_sample_reads_what_all_queries_would_within_its_error() -> None:
    q, k = drawn(4, 4, 512, 32, scale=1.5), drawn(4, 4, 512, 32, seed=1)
    q[:, 3] *= 3
    every = attention_kernel.entropies(q, k, True, 32**-0.5).numpy()
    sampled = ours(q, k, causal=True)
    np.testing.assert_allclose(sampled["entropy"], every[0], rtol=0.06)
    true_max = (q @ k.transpose(2, 3) * 32**-0.5).amax((0, 2, 3)).numpy()
    assert (sampled["highest"] <= true_max * (1 + 1e-6)).all()
    assert (sampled["highest"] >= 0.6 * true_max).all()
    assert (sampled["bound"] >= sampled["highest"]).all()


def test_only_a_few_sequences_are_read_spread_over_the_batch() -> None:
    q, k = drawn(7, 2, 5, 8), drawn(7, 2, 6, 8, seed=1)
    mask = drawn(7, 1, 1, 6, seed=2) > -0.5
    picked = [0, 3]
    agree(ours(q, k, mask=mask), twin(q[picked], k[picked], mask=mask[picked]))


# -- the fused kernel with the keys as values ------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("groups", [4, 2, 1])
def test_the_kernel_gives_the_entropy_of_every_query(groups: int, causal: bool) -> None:
    q, k = drawn(2, 4, 24, 16, scale=2.0), drawn(2, groups, 24, 16, seed=1)
    expected = twin(q, k, causal=causal)
    found = attention_kernel.entropies(q, k, causal, 0.25).double().numpy()
    np.testing.assert_allclose(found, [expected["entropy"], expected["normalized"]], atol=3e-5)


def test_exactness_is_used_where_heads_are_flat_and_the_sample_where_they_are_sharp() -> None:
    q = drawn(2, 3, 256, 16, dtype=torch.bfloat16)
    q[:, 0] *= 40
    k = drawn(2, 3, 256, 16, seed=1, dtype=torch.bfloat16)
    plain, exact = ours(q, k, causal=True), ours(q, k, causal=True, exact=True)
    every = attention_kernel.entropies(q, k, True, 0.25).double().numpy()
    assert plain["entropy"][0] < 1 < plain["entropy"][1:].min()
    assert exact["entropy"][0] == plain["entropy"][0]
    assert exact["normalized"][0] == plain["normalized"][0]
    np.testing.assert_array_equal(exact["entropy"][1:], every[0, 1:])
    np.testing.assert_array_equal(exact["normalized"][1:], every[1, 1:])
    assert (exact["entropy"][1:] != plain["entropy"][1:]).all()
    agree({name: exact[name] for name in NAMES[2:]}, {name: plain[name] for name in NAMES[2:]}, 0)


@pytest.mark.parametrize(
    "options",
    [{"mask": torch.ones(5, 6, dtype=torch.bool)}, {"softcap": 3.0}, {"causal": True}],
    ids=["mask", "soft cap", "not square"],
)
def test_what_the_kernel_does_not_do_is_sampled(options: dict[str, object]) -> None:
    q, k = drawn(2, 2, 5, 8), drawn(2, 2, 6, 8, seed=1)
    agree(ours(q, k, exact=True, **options), ours(q, k, **options), 0)


def test_the_kernel_leaves_broken_queries_out() -> None:
    q, k = drawn(1, 2, 8, 8), drawn(1, 2, 8, 8, seed=1)
    q[0, 0, 3] = math.nan
    expected = twin(q, k)
    found = attention_kernel.entropies(q, k, False, 8**-0.5).double().numpy()
    np.testing.assert_allclose(found, [expected["entropy"], expected["normalized"]], atol=3e-5)


# -- logits ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hide", [-math.inf, torch.finfo(torch.float32).min, -1e4])
def test_logits_of_a_softmax_read_as_the_queries_and_keys_behind_them(hide: float) -> None:
    q, k = drawn(2, 4, 7, 8), drawn(2, 4, 9, 8, seed=1)
    mask = PADDED & torch.ones(7, 9, dtype=torch.bool).tril()
    logits = (q @ k.transpose(2, 3) * 8**-0.5).masked_fill(~mask, hide)
    found = attention.of_logits(logits, UNIFORM)
    values = {name: part.double().numpy() for name, part in zip(NAMES, found, strict=True)}
    assert np.isnan(values.pop("bound")).all()
    expected = twin(q, k, mask=mask)
    agree(values, {name: expected[name] for name in values})


def test_the_logits_that_a_layer_uses_stay_as_they_are() -> None:
    logits = drawn(1, 2, 5, 6)
    logits[..., 3] = -1e4
    before = logits.clone()
    attention.of_logits(logits, UNIFORM)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_queries_keys_and_masks_stay_as_they_are(dtype: torch.dtype) -> None:
    q, k, mask = drawn(1, 2, 5, 8, dtype=dtype), drawn(1, 2, 6, 8, dtype=dtype), drawn(5, 6)
    before = q.clone(), k.clone(), mask.clone()
    attention.of_queries(q, k, UNIFORM, mask=mask, causal=True, softcap=2.0, exact=True)
    assert all(torch.equal(a, b) for a, b in zip((q, k, mask), before, strict=True))


# -- a layer's row ---------------------------------------------------------------------------------------------------------


def named(row: Tensor, heads: int, *, bounded: bool = True) -> dict[str, float]:
    specs = attention.series("", heads, bounded=bounded)
    return {spec.key: value for spec, value in zip(specs, row.tolist(), strict=True)}


def test_the_layer_is_summed_up_over_its_heads() -> None:
    q, k = drawn(2, 8, 20, 8) * torch.linspace(0, 12, 8).reshape(8, 1, 1), drawn(2, 8, 20, 8, seed=1)
    of_heads = ours(q, k)
    values = named(attention.layer(attention.of_queries(q, k, UNIFORM), 8, LEVELS), 8)
    normalized = of_heads["normalized"]
    expected = {
        "attention_entropy": of_heads["entropy"].mean(),
        "attention_entropy_normalized{heads=mean}": normalized.mean(),
        "attention_entropy_normalized{heads=min}": normalized.min(),
        "attention_entropy_normalized{heads=p10}": np.quantile(normalized, 0.1),
        "attention_entropy_normalized{heads=median}": np.median(normalized),
        "attention_heads_below{level=0.05}": (normalized < 0.05).mean(),
        "attention_heads_below{level=0.10}": (normalized < 0.1).mean(),
        "attention_heads_above{level=0.95}": (normalized > 0.95).mean(),
        "attention_sink": of_heads["sink"].mean(),
        "attention_sink_share": of_heads["held"].mean(),
        "attention_logit_spread": of_heads["spread"].mean(),
        "attention_logit_max{heads=max}": of_heads["highest"].max(),
        "attention_logit_bound": of_heads["bound"].max(),
        "nonfinite_count{tensor=attention}": 0.0,
        **{f"attention_entropy_normalized{{head={h}}}": normalized[h] for h in range(8)},
        **{f"attention_logit_max{{head={h}}}": of_heads["highest"][h] for h in range(8)},
    }
    assert values == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert 0 < expected["attention_heads_above{level=0.95}"] < 1
    assert 0 < expected["attention_heads_below{level=0.10}"] < 1


@pytest.mark.parametrize("there", [2, 5, 70])
def test_the_length_of_a_row_is_kept_when_the_number_of_heads_is_not_the_expected_one(there: int) -> None:
    found = attention.of_queries(drawn(1, there, 6, 4), drawn(1, there, 6, 4, seed=1), UNIFORM)
    for heads in (0, 4, 70):
        row = attention.layer(found, heads, LEVELS)
        specs = attention.series("", heads)
        assert len(row) == len(specs)
        known = min(there, heads, attention.HEADS)
        values = named(row, heads)
        assert all(math.isfinite(values[f"attention_logit_max{{head={h}}}"]) for h in range(known))
        missing = [values[f"attention_logit_max{{head={h}}}"] for h in range(known, min(heads, 64))]
        assert all(math.isnan(value) for value in missing)


MASKS: dict[str, Callable[[], Tensor]] = {
    "one for all": lambda: drawn(1, 1, 1, 1, seed=3) > -9,
    "of keys": lambda: drawn(9, seed=3) > -1,
    "of queries": lambda: drawn(1, 1, 7, 1, seed=3) > -1,
    "of heads": lambda: drawn(4, 1, 9, seed=3) > -1,
}


@pytest.mark.parametrize("shape", MASKS)
def test_masks_of_every_shape_that_broadcasts_are_understood(shape: str) -> None:
    q, k, mask = drawn(2, 4, 7, 8), drawn(2, 2, 9, 8, seed=1), MASKS[shape]()
    agree(ours(q, k, mask=mask), twin(q, k, mask=mask))
