"""Quantities of many tokens in, means of each over any of their subsets out: all sums of a row are one matrix product.

A subset is a conjunction of facts, a fact is a quantity above a threshold. So a hundred readings cost a few operators:
compare, count the facts that hold, multiply with the quantities. In float64, where a mean of squares less the square of a
mean keeps its digits, and which no setting for float32 products reaches.

Shape suffixes: N entries (tokens or sequences), Q quantities, F facts, S subsets, K columns of sums, C cells, R readings.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

TINY = torch.finfo(torch.float32).smallest_normal  # above(q, -TINY): q is not below zero
LARGE = 1e30  # stands for infinity, which zero times is no number
How = Literal["mean", "deviation", "concentration"]
Thing = TypeVar("Thing", bound=Hashable)
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
    cells: tuple[str, ...]  # the caller's, in order
    squares: tuple[int, int]  # which columns of sums are of squares: the first, how many
    constants: Mapping[str, Constant] = field(repr=False)  # to be on the device, by these names


def layout(readings: Sequence[Reading], first: Sequence[tuple[str, str]] = ()) -> Layout:
    """The least that these readings need. ``first`` names quantities, (axis, name), that are to be the first rows."""
    terms = list(dict.fromkeys(term for reading in readings for term in reading.terms()))
    sums = [term for term in terms if isinstance(term, Sum)]
    cells = sorted((term for term in terms if isinstance(term, Cell)), key=lambda cell: cell == ONE)
    subsets = _numbered((term.axis, term.over) for term in sums)
    facts = _numbered((axis, fact.quantity, fact.threshold) for axis, over in subsets for fact in over)
    columns = _numbered(sorted({(term.squared, term.axis, term.quantity) for term in sums}))
    named = dict.fromkeys(
        [*first, *((axis, q) for axis, q, _ in facts), *((axis, q) for _, axis, q in columns)]
    )
    axes = _numbered(axis for axis, _ in named)
    rows = _numbered(one for axis in axes for one in named if one[0] == axis)  # a block per axis
    where: dict[Term, int] = {
        term: subsets[term.axis, term.over] * len(columns) + columns[term.squared, term.axis, term.quantity]
        for term in sums
    }
    where |= {cell: len(subsets) * len(columns) + number for number, cell in enumerate(cells)}
    take = [where[term] for column in zip(*(r.terms() for r in readings), strict=True) for term in column]
    hows = [get_args(How).index(reading.how) for reading in readings]
    # The first fact is that a row exceeds -inf, which it does: its sign makes 1 of the sum when all others are so.
    compared = [0, *(rows[axis, quantity] for axis, quantity, _ in facts)]
    thresholds = [-math.inf, *(threshold for *_, threshold in facts)]
    signs = [sign for subset in subsets for sign in _signs(subset, facts)]
    count = len(readings)
    constants = {
        "compared": _integers(compared, len(compared)),
        "thresholds": _numbers(thresholds, len(compared), 1),
        "signs": _numbers(signs, len(subsets), len(compared)),
        "summed": _integers([rows[axis, quantity] for _, axis, quantity in columns], len(columns)),
        "take": _integers(take, 5, count),
        "fewest": _numbers([2.0 if reading.how == "deviation" else 1.0 for reading in readings], count),
        "scale": _numbers([reading.scale for reading in readings], count),
    }
    if any(hows):
        constants["pick"] = _integers([how * count + number for number, how in enumerate(hows)], count)
    squares = sum(squared for squared, *_ in columns)
    return Layout(
        series=tuple(reading.spec for reading in readings),
        quantities={axis: tuple(q for of, q in rows if of == axis) for axis in axes},
        where=where,
        cells=tuple(cell.name for cell in cells),
        squares=(len(columns) - squares, squares),
        constants=constants,
    )


def _signs(subset: tuple[str, Subset], facts: Mapping[tuple[str, str, float], int]) -> list[float]:
    """For each fact 1 where it must be so, −1 where it must not, 0 where it does not matter; before them what makes 1 of their
    sum when all are as they must be. When one is not it is 0 or less."""
    axis, over = subset
    signs = [1.0 - sum(fact.holds for fact in over)] + [0.0] * len(facts)
    for fact in over:
        signs[1 + facts[axis, fact.quantity, fact.threshold]] = 1.0 if fact.holds else -1.0
    return signs


def _numbered(things: Iterable[Thing]) -> dict[Thing, int]:
    """Each thing once, and its number."""
    return {thing: number for number, thing in enumerate(dict.fromkeys(things))}


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
    inside_SN = (constants["signs"] @ true_FN).clamp_min_(0.0)
    x_KN = x_QN.index_select(0, constants["summed"])
    if layout.squares[1]:
        x_KN.narrow(0, *layout.squares).square_()
    return (inside_SN @ x_KN.t()).reshape(-1)


def read(cells_C: Tensor, constants: Mapping[str, Tensor]) -> Tensor:
    """The readings, float32, from the cells of a layout."""
    total_R, second_R, size_R, sound_R, asked_R = cells_C.take(constants["take"]).unbind(0)
    value_R = total_R / size_R
    if "pick" in constants:
        square_R, second_R = value_R * value_R, second_R / size_R
        deviation_R = (second_R - square_R).clamp_min_(0.0).sqrt_()
        value_R = torch.stack([value_R, deviation_R, square_R / second_R]).take(constants["pick"])
    lacking_R = torch.maximum(asked_R.sub(sound_R, alpha=2.0), constants["fewest"] - sound_R) > 0
    return value_R.mul(constants["scale"]).masked_fill_(lacking_R, math.nan).float()
