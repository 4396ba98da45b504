"""Sums over subsets against loops, whatever is asked of which axis."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from foreshock.measure.statistics import tally
from foreshock.measure.statistics.tally import ONE, Cell, Fact, Reading, Sum, Term, above, upto
from foreshock.series import SeriesSpec

torch.set_num_threads(1)
GIVEN = Cell("given")


def reading(name: str, total: Term, size: Term = ONE, **more: object) -> Reading:
    return Reading(SeriesSpec(statistic=name, family="test"), total, size, **more)  # type: ignore[arg-type]


def read(readings: list[Reading], found: dict[str, dict[str, Tensor]], given: float = 0.0) -> list[float]:
    layout = tally.layout(readings)
    held = {
        name: torch.as_tensor(values, dtype=dtype).reshape(shape)
        for name, (values, shape, dtype) in layout.constants.items()
    }
    cells = {"given": given, "one": 1.0}
    own = torch.tensor([cells[name] for name in layout.cells], dtype=torch.float64)
    assert "one" not in layout.cells[:-1]
    row = tally.read(torch.cat([tally.sums(layout, tally.rows(layout, found), held), own]), held)
    assert row.dtype == torch.float32
    return row.tolist()


def quantities(count: int, seed: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = {name: torch.randn(count, generator=g, dtype=torch.float64) for name in ("a", "b")}
    return {"asked": torch.ones(count, dtype=torch.float64), **x}


def holds(facts: tuple[Fact, ...], of: dict[str, Tensor]) -> np.ndarray:
    inside = np.ones(len(of["asked"]), dtype=bool)
    for fact in facts:
        inside &= (of[fact.quantity].numpy() > fact.threshold) == fact.holds
    return inside


SUBSETS = [
    (),
    (above("a"),),
    (upto("a"), above("b", 0.5)),
    (above("a", -1.0), upto("a", 1.0), upto("b"), above("b", -0.5)),
    (above("a"), upto("a", -0.1)),  # nobody
]


@pytest.mark.parametrize("seed", range(3))
def test_every_quantity_over_every_subset_of_two_axes(seed: int) -> None:
    found = {"tokens": quantities(37, seed), "sequences": quantities(9, seed + 10)}
    readings, expected = [], []
    for axis, of in found.items():
        for over in SUBSETS:
            inside = holds(over, of)
            size = Sum(axis, "asked", over)
            for name in ("a", "b"):
                x = of[name].numpy()[inside]
                checked = (size, size)
                total = Sum(axis, name, over)
                readings.append(reading("mean", total, size))
                expected.append(x.mean() if len(x) else math.nan)
                readings.append(reading("all", total, scale=-2.0))
                expected.append(-2 * x.sum())
                readings.append(reading("std", total, size, how="deviation", checked=checked))
                expected.append(x.std() if len(x) > 1 else math.nan)
                readings.append(reading("ess", total, size, how="concentration"))
                expected.append(x.mean() ** 2 / (x**2).mean() if len(x) else math.nan)
                readings.append(reading("square", Sum(axis, name, over, squared=True), size))
                expected.append((x**2).mean() if len(x) else math.nan)
    assert read(readings, found) == pytest.approx(expected, rel=1e-6, abs=1e-9, nan_ok=True)


def test_a_mean_of_squares_less_the_square_of_a_mean_keeps_its_digits() -> None:
    x = torch.tensor([1e6, 1e6 + 1, 1e6 + 2], dtype=torch.float64)
    total, size = Sum("t", "x", ()), Sum("t", "asked", ())
    found = {"t": {"x": x, "asked": torch.ones(3, dtype=torch.float64)}}
    spread = read([reading("std", total, size, how="deviation", checked=(size, size))], found)[0]
    assert spread == pytest.approx(math.sqrt(2 / 3), rel=1e-3)


def test_half_of_what_was_asked_for_is_enough() -> None:
    asked, sound = Sum("t", "asked", ()), Sum("t", "asked", (above("good", 0.5),))
    rows = [reading("mean", Sum("t", "asked", (above("good", 0.5),)), sound, checked=(sound, asked))]
    for good, expected in ((4, 1.0), (2, 1.0), (1, math.nan), (0, math.nan)):
        marks = (torch.arange(4) < good).double()
        found = {"t": {"asked": torch.ones(4, dtype=torch.float64), "good": marks}}
        assert read(rows, found)[0] == pytest.approx(expected, nan_ok=True)


def test_what_nobody_counts_may_hold_anything_and_the_callers_cells_are_read_too() -> None:
    x = torch.tensor([1.0, math.nan, math.inf, -math.inf, 3.0], dtype=torch.float64)
    good = torch.tensor([1.0, 0, 0, 0, 1], dtype=torch.float64)
    over = (above("good", 0.5),)
    found = {"t": {"x": x, "good": good, "asked": torch.ones(5, dtype=torch.float64)}}
    size = Sum("t", "asked", over)
    rows = [
        reading("mean", Sum("t", "x", over), size),
        reading("cell", GIVEN, size),
        reading("high", Sum("t", "asked", (above("x", 5.0),))),  # infinity exceeds it, and is compared alone
    ]
    assert read(rows, found, given=7.0) == [2.0, 3.5, 1.0]
