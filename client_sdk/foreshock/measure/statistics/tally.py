"""Quantities of many tokens in, means of each over any of their subsets out: all sums of a row are one matrix product.

A subset is a conjunction of facts, a fact is a quantity above a threshold. So a hundred readings cost a few operators:
compare, count the facts that hold, multiply with the quantities. In float64, where a mean of squares less the square of a
mean keeps its digits, and which no setting for float32 products reaches.

Shape suffixes: N entries (tokens or sequences), Q quantities, F facts, S subsets, K columns of sums, C cells, R readings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

TINY = torch.finfo(torch.float32).smallest_normal  # above(q, -TINY): q is not below zero
LARGE = 1e30
How = Literal["mean", "deviation", "concentration"]
Constant = tuple[tuple[float, ...], tuple[int, ...], torch.dtype]  # values, shape, dtype


@dataclass(frozen=True)
class Fact:
    """Whether a quantity exceeds a threshold."""

    quantity: str
    threshold: float
    holds: bool = True


Subset = tuple[Fact, ...]  # the entries for which all of these are so


def above(quantity: str, threshold: float = 0.0) -> Fact:
    """quantity > threshold."""
    return Fact(quantity, threshold)


def upto(quantity: str, threshold: float = 0.0) -> Fact:
    """quantity ≤ threshold."""
    return Fact(quantity, threshold, holds=False)


@dataclass(frozen=True)
class Sum:
    """Of a quantity, or of its square, over a subset of an axis's entries."""

    axis: str
    quantity: str
    over: Subset
    squared: bool = False


@dataclass(frozen=True)
class Cell:
    """A number that the caller has by this name."""

    name: str


ONE = Cell("one")  # which the caller has too
Term = Sum | Cell


@dataclass(frozen=True)
class Reading:
    """E[x] = total / size; or √(E[x²] − E[x]²), NaN with fewer than two sound entries; or E[x]²/E[x²], which is 1 when all
    are equal. NaN when ``checked``, how much is sound and how much was asked for, are 0 or more than half of it is not."""

    spec: SeriesSpec
    total: Term
    size: Term = ONE
    checked: tuple[Term, Term] = (ONE, ONE)
    how: How = "mean"
    scale: float = 1.0

    def terms(self) -> tuple[Term, ...]:
        """The sums and cells that it is made of."""
        second = self.total
        if self.how != "mean" and isinstance(self.total, Sum):
            second = replace(self.total, squared=True)
        return self.total, second, self.size, *self.checked


@dataclass(frozen=True)
class Layout:
    """How a row of readings comes out of cells: those that `sums` returns, then those that the caller has."""

    series: tuple[SeriesSpec, ...]
    quantities: Mapping[str, tuple[str, ...]]  # axis -> what `rows` takes of its entries, in order
    where: Mapping[Term, int] = field(repr=False)  # which cell is what
    sums: int  # how many cells are sums
    cells: tuple[str, ...]  # the caller's, in order
    squares: tuple[int, int]  # which columns of sums are of squares: the first, how many
    constants: Mapping[str, Constant] = field(repr=False)  # to be on the device, by these names

    def row(self, axis: str, quantity: str) -> int:
        """Which row of its axis's block a quantity is."""
        return self.quantities[axis].index(quantity)


def layout(readings: Sequence[Reading], first: Sequence[tuple[str, str]] = ()) -> Layout:
    """The least that these readings need. ``first`` names quantities, (axis, name), that are to be the first rows."""
    terms = list(dict.fromkeys(term for reading in readings for term in reading.terms()))
    sums = [term for term in terms if isinstance(term, Sum)]
    cells = sorted((term for term in terms if isinstance(term, Cell)), key=lambda cell: cell == ONE)
    subsets = list(dict.fromkeys((term.axis, term.over) for term in sums))
    facts = list(dict.fromkeys((axis, f.quantity, f.threshold) for axis, subset in subsets for f in subset))
    columns = sorted({(term.squared, term.axis, term.quantity) for term in sums})
    plain = sum(not squared for squared, *_ in columns)
    named = dict.fromkeys(
        [*first, *((axis, q) for axis, q, _ in facts), *((axis, q) for _, axis, q in columns)]
    )
    axes = list(dict.fromkeys(axis for axis, _ in named))
    rows = [one for axis in axes for one in named if one[0] == axis]  # a block per axis
    where: dict[Term, int] = {
        term: subsets.index((term.axis, term.over)) * len(columns)
        + columns.index((term.squared, term.axis, term.quantity))
        for term in sums
    }
    total = len(subsets) * len(columns)
    where |= {cell: total + position for position, cell in enumerate(cells)}
    take = [[where[term] for term in column] for column in zip(*(r.terms() for r in readings), strict=True)]
    hows = [get_args(How).index(reading.how) for reading in readings]
    literals = [[_spare(subset), *(_sign(subset, of) for of in facts)] for subset in subsets]
    compared = [
        0,
        *(rows.index((axis, q)) for axis, q, _ in facts),
    ]  # any number exceeds -inf: the first fact is true
    thresholds = [-math.inf, *(threshold for *_, threshold in facts)]
    count = len(readings)
    return Layout(
        series=tuple(reading.spec for reading in readings),
        quantities={axis: tuple(q for of, q in rows if of == axis) for axis in axes},
        where=where,
        sums=total,
        cells=tuple(cell.name for cell in cells),
        squares=(plain, len(columns) - plain),
        constants={
            "compared": _integers(compared, len(compared)),
            "thresholds": _numbers(thresholds, len(compared), 1),
            "literals": _numbers(_chained(literals), len(subsets), len(compared)),
            "summed": _integers([rows.index((axis, q)) for _, axis, q in columns], len(columns)),
            "take": _integers(_chained(take), 5, count),
            "pick": _integers([how * count + position for position, how in enumerate(hows)], count),
            "fewest": _numbers([2.0 if how == 1 else 1.0 for how in hows], count),
            "scale": _numbers([reading.scale for reading in readings], count),
        },
    )


def _sign(subset: tuple[str, Subset], of: tuple[str, str, float]) -> float:
    """1 where the fact must be so, −1 where it must not, 0 where it does not matter."""
    axis, facts = subset
    wanted = [fact.holds for fact in facts if (axis, fact.quantity, fact.threshold) == of]
    return 0.0 if not wanted else 1.0 if wanted[0] else -1.0


def _spare(subset: tuple[str, Subset]) -> float:
    """What makes 1 of the sum of signs when all facts are as they must be; it is 0 or less when one is not."""
    return 1.0 - sum(fact.holds for fact in subset[1])


def _chained(rows: Iterable[Sequence[float]]) -> list[float]:
    return [value for row in rows for value in row]


def _integers(values: Sequence[float], *shape: int) -> Constant:
    return tuple(values), shape, torch.int64


def _numbers(values: Sequence[float], *shape: int) -> Constant:
    return tuple(values), shape, torch.float64


# -- on the device -----------------------------------------------------------------------------------------------------


def rows(layout: Layout, found: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
    """The quantities of all axes, float64: a block per axis on the diagonal, zero elsewhere, so that no axis adds to another's
    sums. What is no number is zero too, and what is infinite large: nothing that counts is either."""
    blocks = [torch.stack([found[axis][name] for name in names]) for axis, names in layout.quantities.items()]
    if len(blocks) == 1:
        return blocks[0].nan_to_num_(0.0, LARGE, -LARGE)
    x_QN: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return x_QN.nan_to_num_(0.0, LARGE, -LARGE)


def sums(layout: Layout, x_QN: Tensor, constants: Mapping[str, Tensor]) -> Tensor:
    """The cells that are sums of these rows."""
    true_FN = (x_QN.index_select(0, constants["compared"]) > constants["thresholds"]).double()
    inside_SN = (constants["literals"] @ true_FN).clamp_min_(0.0)
    x_KN = x_QN.index_select(0, constants["summed"])
    if layout.squares[1]:
        x_KN.narrow(0, *layout.squares).square_()
    return (inside_SN @ x_KN.t()).reshape(-1)


def read(cells_C: Tensor, constants: Mapping[str, Tensor]) -> Tensor:
    """The readings, float32, from the cells of a layout."""
    total_R, second_R, size_R, sound_R, asked_R = cells_C.take(constants["take"]).unbind(0)
    mean_R, second_R = total_R / size_R, second_R / size_R
    deviation_R = torch.addcmul(second_R, mean_R, mean_R, value=-1.0).clamp_min_(0.0).sqrt_()
    every_3R = torch.stack([mean_R, deviation_R, mean_R * mean_R / second_R])
    lacking_R = torch.maximum(asked_R.sub(sound_R, alpha=2.0), constants["fewest"] - sound_R) > 0
    chosen_R = every_3R.take(constants["pick"]) * constants["scale"]
    return chosen_R.masked_fill_(lacking_R, math.nan).float()
