"""An input without information, and which words of the catalogue it makes true."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from tests.sdk.subjects import SUBJECTS
from tests.sdk.subjects.subject import Given, Readings

from foreshock.measure.statistics import STATISTICS
from foreshock.series import SeriesSpec

_BY_NAME = {subject.name: subject for subject in SUBJECTS}
_VALUES = {
    "NaN or infinite": (math.nan, math.inf),
    "NaN": (math.nan,),
    "infinite": (math.inf,),
    "0.99": (0.99,),
    "0": (0.0,),
    "1": (1.0,),
}


@dataclass(frozen=True)
class Scenario:
    """What is read in a degenerate case. It is about the clauses, parts between semicolons, in which the pattern is found."""

    name: str
    read: Callable[[], Readings]
    pattern: str
    expected: float | None = None  # where a clause does not begin with its value
    only: Callable[[dict[str, str]], bool] = lambda labels: (
        True
    )  # the series, by their labels, that it is about
    names: tuple[str, ...] = ()  # the statistics; all when there are none

    def claims(self) -> Iterator[tuple[SeriesSpec, str, float, tuple[float, ...]]]:
        """Series, clause, what was read, and what may be."""
        for spec, value in self.read().items():
            if (self.names and spec.statistic not in self.names) or not self.only(spec.all_labels):
                continue
            for clause in clauses(spec.statistic):
                if re.search(self.pattern, clause):
                    yield spec, clause, value, self._allowed(clause)

    def _allowed(self, clause: str) -> tuple[float, ...]:
        if self.expected is not None:
            return (self.expected,)
        for word, values in _VALUES.items():
            if re.match(rf"{re.escape(word)}(?![\w./])", clause):
                return values
        raise AssertionError(f"{self.name}: say what is expected of {clause!r}")


def clauses(statistic: str) -> list[str]:
    """The parts of what an entry says of degenerate input."""
    return STATISTICS[statistic].degenerate.split("; ")


def shown(subject: str, rows: int = 24, **changes: Any) -> Callable[[], Readings]:
    """What a subject reads of ordinary inputs with some of them replaced: by a tensor, by what a function makes of the old
    one, or by nothing where that is None."""

    def read() -> Readings:
        of = _BY_NAME[subject]
        given: Given = of.draw(rows, torch.Generator().manual_seed(0))
        for name, change in changes.items():
            if change is None:
                del given[name]
            else:
                given[name] = change(given[name]) if callable(change) else change
        return of.read(given)

    return read


def none(x: torch.Tensor) -> torch.Tensor:
    """A mask that lets nothing through."""
    return torch.zeros_like(x)


def first(count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A mask that lets the first few through."""

    def of(x: torch.Tensor) -> torch.Tensor:
        return (torch.arange(x.numel()) < count).view(x.shape).to(x.dtype)

    return of


def filled(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: torch.full_like(x, value)


def repeated(x: torch.Tensor) -> torch.Tensor:
    """Every row the first one."""
    return x[:1].expand_as(x).clone()
