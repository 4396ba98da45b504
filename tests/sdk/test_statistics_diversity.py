"""The diversity of samples against its definitions, written over pairs in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from foreshock.measure.statistics import diversity
from foreshock.testing import recording

torch.set_num_threads(1)
NAMES = (*diversity.YIELDS, *diversity.AGAINST)


def drawn(rows: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def read(x: Tensor, reference: Tensor | None = None, **given: Tensor) -> dict[str, float]:
    given = {"x": x, **given}
    if reference is not None:
        given["reference"] = reference
    row = diversity.measure(given)
    specs = diversity.series("", given)
    assert len(row) == len(specs)
    return dict(zip((spec.statistic for spec in specs), row.tolist(), strict=True))


def by_hand(x: Tensor, reference: Tensor | None = None) -> dict[str, float]:
    """The definitions, pair by pair."""
    rows = x.double().numpy()
    n = len(rows)
    apart = [[float(np.linalg.norm(a - b)) for b in rows] for a in rows]
    mean = math.fsum(map(math.fsum, apart)) / (n * (n - 1))
    nearest = [min(row[:i] + row[i + 1 :]) for i, row in enumerate(apart)]
    found = {
        "sample_vendi": vendi(rows),
        "sample_distance": mean / math.sqrt(math.fsum((rows**2).sum(1)) / n),
        "sample_std": float(rows.std(0).mean()),
        "sample_duplicates": sum(d <= 0.01 * mean for d in nearest) / n,
        "n_eff": n,
        "nonfinite_count": 0,
    }
    if reference is None:
        return found
    real = reference.double().numpy()
    radii = [sorted(float(np.linalg.norm(a - b)) for b in real)[5] for a in real]  # the first is itself
    inside = [
        [float(np.linalg.norm(a - b)) < radius for b in rows] for a, radius in zip(real, radii, strict=True)
    ]
    return found | {
        "sample_vendi_ratio": vendi(rows) / vendi(real),
        "sample_density": sum(map(sum, inside)) / (5 * n),
        "sample_coverage": sum(map(any, inside)) / len(real),
    }


def vendi(rows: np.ndarray) -> float:
    """Of order 2, from the eigenvalues that define it."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    shares = np.linalg.eigvalsh(unit @ unit.T / len(unit))
    return float(1 / (shares**2).sum())


@pytest.mark.parametrize(("rows", "width"), [(8, 3), (40, 100), (60, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_readings_agree_with_their_definitions(rows: int, width: int, dtype: torch.dtype) -> None:
    x, real = drawn(rows, width).to(dtype), (drawn(rows, width, 1) + 0.2).to(dtype)
    assert read(x) == pytest.approx(by_hand(x), rel=1e-5)
    assert read(x, real) == pytest.approx(by_hand(x, real), rel=1e-5)


def test_equal_samples_are_one_sample() -> None:
    readings = read(drawn(1, 20).expand(50, 20))
    assert readings["sample_vendi"] == pytest.approx(1)
    assert readings["sample_distance"] == pytest.approx(0, abs=1e-6)
    assert readings["sample_std"] == pytest.approx(0, abs=1e-6)
    assert readings["sample_duplicates"] == 1


def test_samples_in_all_directions_alike_are_many() -> None:
    readings = read(torch.eye(30))
    assert readings["sample_vendi"] == pytest.approx(30)
    assert readings["sample_distance"] == pytest.approx(math.sqrt(2), rel=1e-6)
    assert readings["sample_duplicates"] == 0


def test_a_few_modes_are_counted_and_their_copies_found() -> None:
    modes = torch.eye(20)[:4] * 3
    x = modes.repeat(25, 1) + 1e-4 * drawn(100, 20)
    readings = read(x)
    assert readings["sample_vendi"] == pytest.approx(4, rel=0.01)
    assert readings["sample_duplicates"] == 1
    assert readings["sample_distance"] > 1


def test_zeros_are_no_sample_at_all() -> None:
    readings = read(torch.zeros(30, 5))
    assert (readings["sample_vendi"], readings["sample_distance"], readings["sample_std"]) == (0, 0, 0)
    assert readings["sample_duplicates"] == 1


def test_a_huge_offset_and_a_huge_scale_cost_no_digits() -> None:
    x = drawn(40, 10)
    far = (x * 1e-3 + 1000).float()
    assert read(far) == pytest.approx(by_hand(far), rel=1e-5)
    assert read(x * 1e30)["sample_vendi"] == pytest.approx(read(x)["sample_vendi"], rel=1e-5)
    assert read(x * 1e30)["sample_distance"] == pytest.approx(read(x)["sample_distance"], rel=1e-5)
    half = (x * 1000).half()
    assert read(half)["sample_std"] == pytest.approx(by_hand(half)["sample_std"], rel=1e-5)


def test_rows_that_are_not_finite_are_left_out_and_their_values_counted() -> None:
    x, real = drawn(40, 6), drawn(40, 6, 1)
    clean = read(x[2:], real)
    x[0, 3], x[1] = math.nan, math.inf
    dirty = read(x)
    assert dirty["nonfinite_count"] == 7
    assert dirty["n_eff"] == 38
    for name in diversity.YIELDS:
        assert dirty[name] == pytest.approx(clean[name], rel=1e-5), name
    x[:21] = math.nan
    readings = read(x, real)
    assert (readings.pop("n_eff"), readings.pop("nonfinite_count")) == (19, 21 * 6)
    assert all(math.isnan(value) for value in readings.values())


def test_a_reference_with_bad_rows_is_read_without_them_or_not_at_all() -> None:
    x, real = drawn(40, 6), drawn(40, 6, 1)
    dirty = real.clone()
    dirty[:4] = math.nan
    readings, without = read(x, dirty), by_hand(x, real[4:])
    assert readings["sample_density"] == pytest.approx(without["sample_density"], rel=1e-5)
    assert readings["sample_coverage"] == pytest.approx(without["sample_coverage"], rel=1e-5)
    dirty[:21] = math.nan
    readings = read(x, dirty)
    assert math.isnan(readings["sample_density"])
    assert math.isnan(readings["sample_coverage"])
    assert readings["sample_std"] == pytest.approx(by_hand(x)["sample_std"], rel=1e-5)


def test_too_few_samples_say_nothing() -> None:
    one = read(drawn(1, 5))
    assert all(math.isnan(one[name]) for name in diversity.YIELDS)
    five = read(drawn(30, 5), drawn(5, 5, 1))
    assert five["n_eff"] == 5
    assert math.isnan(five["sample_density"])
    assert math.isfinite(five["sample_vendi_ratio"])


def test_density_and_coverage_of_the_same_distribution_are_near_what_is_expected() -> None:
    readings = read(drawn(512, 8), drawn(512, 8, 1))
    assert readings["sample_density"] == pytest.approx(1, abs=0.1)
    assert readings["sample_coverage"] == pytest.approx(1 - 2**-5, abs=0.03)
    assert readings["sample_vendi_ratio"] == pytest.approx(1, abs=0.1)
    collapsed = read(drawn(4, 8).repeat(128, 1), drawn(512, 8, 1))
    assert collapsed["sample_coverage"] < 0.1
    apart = read(drawn(512, 8) + 50, drawn(512, 8, 1))
    assert apart["sample_density"] == apart["sample_coverage"] == 0


def test_the_order_of_the_samples_does_not_matter() -> None:
    x, real = drawn(50, 6), drawn(50, 6, 1)
    assert read(x.flip(0), real.roll(7, 0)) == pytest.approx(read(x, real), rel=1e-6)


def test_of_many_samples_as_many_are_drawn_as_the_reference_has() -> None:
    x, real = drawn(700, 6), drawn(600, 6, 1)
    uniform = torch.rand(700, generator=torch.Generator().manual_seed(2))
    uniform_reference = torch.rand(600, generator=torch.Generator().manual_seed(3))
    taken = x[uniform.topk(diversity.ROWS).indices]
    assert read(x, uniform=uniform)["sample_vendi"] == pytest.approx(vendi(taken.double().numpy()), rel=1e-5)
    readings = read(x, real[:30], uniform=uniform, uniform_reference=uniform_reference[:30])
    assert readings == pytest.approx(by_hand(x[uniform.topk(30).indices], real[:30]), rel=1e-5)
    both = read(x, real, uniform=uniform, uniform_reference=uniform_reference)
    assert both["n_eff"] == diversity.ROWS


def test_a_loop_shows_its_samples() -> None:
    with recording(every={"diversity": 1}) as recorded:
        before = torch.get_rng_state()
        for seed in range(2):
            recorded.run.observe.samples("gan", drawn(40, 6, seed), reference=drawn(40, 6, 7))
            recorded.run.observe.samples("text", drawn(900, 6, seed).view(30, 30, 6))
            recorded.run.step()
        assert torch.equal(torch.get_rng_state(), before)
        expected = [by_hand(drawn(40, 6, seed), drawn(40, 6, 7)) for seed in range(2)]
        for name in NAMES:
            values = recorded.columns(f"{name}{{place=gan}}").values
            assert values.tolist() == pytest.approx([one[name] for one in expected], rel=1e-5), name
        assert recorded.columns("n_eff{place=text}").values.tolist() == [diversity.ROWS] * 2


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda o: o.samples("s", [1.0]), r"features is a list; pass a torch tensor"),
        (
            lambda o: o.samples("s", torch.zeros(4, 2).long()),
            r"features has dtype torch.int64; pass a floating",
        ),
        (
            lambda o: o.samples("s", torch.zeros(0, 2)),
            r"features has shape \[0, 2\]; pass one row per sample",
        ),
        (
            lambda o: o.samples("s", torch.zeros(4, 2), reference=torch.zeros(4, 3)),
            r"reference has width 3, features 2; pass both through the same network",
        ),
    ],
)
def test_a_wrong_argument_is_told_what_to_be(call: object, sentence: str) -> None:
    with recording() as recorded, pytest.raises(ValueError, match=sentence):
        call(recorded.run.observe)  # type: ignore[operator]
