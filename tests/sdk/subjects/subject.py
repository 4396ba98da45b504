"""What is measured of some rows, as the properties need it: inputs of any number of rows, and readings by the names of their series."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

Given = dict[str, Tensor]
Readings = dict[SeriesSpec, float]
JUNK = (math.nan, math.inf, -math.inf, 3e38, -3e38)  # what a row that does not count may hold
NUMBERS = (-(2**31), -1, 2**31, 2**40)  # the same of integers


@dataclass(frozen=True)
class Subject:
    """One measurement; ``rows`` says along which axis each of its inputs has the rows, those that are not there have none."""

    name: str
    draw: Callable[[int, torch.Generator], Given]
    read: Callable[[Given], Readings]
    rows: Mapping[str, int]
    block: int = 1  # rows that belong together, in order
    spoiled: tuple[str, ...] = ()  # inputs of which a value that is not finite takes its row out
    shared: tuple[str, ...] = ()  # inputs that are ours: never junk
    scaled: tuple[str, ...] = ()  # inputs that may be multiplied by one number
    degrees: Mapping[str, float] = field(
        default_factory=dict
    )  # statistics that then grow by this power of it
    unscaled: tuple[str, ...] = ()  # those of which nothing is claimed
    shifted: tuple[str, ...] = ()  # inputs to whose rows a number may be added
    unshifted: tuple[str, ...] = ()  # statistics that then change
    unmasked: bool = False  # it has rows that no mask takes out
    halved: tuple[str, ...] = ()  # inputs that may come in half precision
    rounded: tuple[str, ...] = ()  # statistics that are about the precision of the input
    ordered: tuple[str, ...] = ()  # statistics that depend on the order of the rows
    averaged: tuple[str, ...] = ()  # statistics whose merged value is the average of what the ranks read
    bounded: tuple[
        str, ...
    ] = ()  # those whose merged value is a bound: of a minimum from above, of a maximum too
    loose: tuple[
        str, ...
    ] = ()  # those whose merged value is an extreme, or a count in bins: nothing is claimed
    apart: float = 0.1  # how far an average of ranks may be from the whole, relative to it
    ranked: bool = True  # ranks see different rows
    even: bool = False  # the ranks' shares count alike, so they must be of one size
    tolerance: float = 2e-5
    small: float = 2e-6  # what counts as nothing

    def picked(self, given: Given, rows: Tensor) -> Given:
        """The inputs of these blocks of rows."""
        found = dict(given)
        for name, axis in self.rows.items():
            if name in given:
                found[name] = given[name].index_select(axis, self._places(rows))
        return found

    def split(self, given: Given, sizes: Sequence[int]) -> list[Given]:
        """The inputs of each rank, so many blocks of rows after one another."""
        every = torch.arange(sum(sizes))
        return [self.picked(given, part) for part in every.split(list(sizes))]

    def count(self, given: Given) -> int:
        """How many blocks of rows there are."""
        name, axis = next((name, axis) for name, axis in self.rows.items() if name in given)
        return given[name].shape[axis] // self.block

    def padded(self, given: Given, blocks: int, generator: torch.Generator) -> Given:
        """So many more blocks of rows that are masked, with anything in them, at random places."""
        count = self.count(given)
        more = torch.randint(0, count, (blocks,), generator=generator)
        order = torch.randperm(count + blocks, generator=generator)
        found = dict(given)
        # Half of the time they are copies of ordinary rows, which only the mask can tell from those that count.
        ordinary = set(self.rows) if torch.rand((), generator=generator) > 0.5 else set()
        for name, axis in self.rows.items():
            if name not in given:
                continue
            extra = given[name].index_select(axis, self._places(more)).clone()
            if name == "valid":
                extra.zero_()
            elif name not in self.shared and name not in ordinary:
                extra = junk(extra, generator)
            found[name] = torch.cat([given[name], extra], axis)
        return self.picked(found, order)

    def _places(self, blocks: Tensor) -> Tensor:
        return (blocks.unsqueeze(1) * self.block + torch.arange(self.block)).reshape(-1)


def junk(like: Tensor, generator: torch.Generator) -> Tensor:
    """Of this shape and dtype, no two entries the same kind of nonsense."""
    if like.dtype == torch.bool:
        return torch.rand(like.shape, generator=generator) > 0.5
    values = JUNK if like.is_floating_point() else NUMBERS
    kinds = torch.randint(0, len(values), like.shape, generator=generator)
    return torch.tensor(values).to(like.dtype)[kinds]


def row_of(specs: Sequence[SeriesSpec], values: Tensor) -> Readings:
    """The values by series; as many as there are series."""
    assert len(specs) == len(values), f"{len(specs)} series, {len(values)} values"
    assert values.dtype == torch.float32
    return dict(zip(specs, values.tolist(), strict=True))


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator)


def integers(high: int, *shape: int, generator: torch.Generator) -> Tensor:
    return torch.randint(0, high, shape, generator=generator)


def mask(*shape: int, generator: torch.Generator) -> Tensor:
    """Two thirds of the rows count, the first block of them always."""
    found = torch.rand(*shape, generator=generator) > 0.33
    found.view(-1)[:4] = True
    return found
