"""What a number is: statistic, place, unit. A Series is named once; a Frame is the series that are recorded together."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal


@dataclass(frozen=True)
class SeriesSpec:
    """One statistic of one place in the model, as the wire contract describes it."""

    statistic: str
    family: str
    unit: str = ""
    place: str = ""
    labels: tuple[tuple[str, str], ...] = ()  # further labels, in any order; `place` is added by itself
    dtype: Literal["f32", "f64"] = "f32"
    title: str | None = field(default=None, compare=False)
    low: float | None = field(
        default=None, compare=False
    )  # the range the statistic can take; None: unbounded
    high: float | None = field(default=None, compare=False)
    source: str | None = field(default=None, compare=False)  # paper, equation
    sparse: bool = field(default=False, compare=False)  # NaN says that there was nothing to read: no reading
    merge: str | None = field(default=None, compare=False)  # how several ranks become one; None: not at all
    weight: str | None = field(default=None, compare=False)  # of a mean: the statistic that counts its rows

    @property
    def all_labels(self) -> dict[str, str]:
        """Labels in alphabetical order, place among them when there is one."""
        labels = dict(self.labels)
        if self.place:
            labels["place"] = self.place
        return dict(sorted(labels.items()))

    @property
    def key(self) -> str:
        """`statistic` or `statistic{label=value,…}`: the name of the series within its run."""
        labels = self.all_labels
        if not labels:
            return self.statistic
        return f"{self.statistic}{{{','.join(f'{name}={value}' for name, value in labels.items())}}}"

    def replicated(self) -> SeriesSpec:
        """The same where every rank reads the same thing, and not a part of one: adding the ranks up would count it again."""
        return self if self.merge is None else replace(self, merge="mean", weight=None)

    def on_wire(self) -> Mapping[str, Any]:
        """The object that the wire contract calls a series."""
        return {
            "key": self.key,
            "statistic": self.statistic,
            "family": self.family,
            "place": self.place,
            "labels": self.all_labels,
            "unit": self.unit,
            "dtype": self.dtype,
            "about": {
                "title": self.title,
                "low": self.low,
                "high": self.high,
                "source": self.source,
                **{name: how for name, how in (("merge", self.merge), ("weight", self.weight)) if how},
            },
        }


TRAINING = "training"  # the family of what the loop logs
LOGGED = ("source", "log")


def logged(
    name: str,
    measured: Container[str],
    labels: tuple[tuple[str, str], ...] = (),
    dtype: Literal["f32", "f64"] = "f32",
) -> SeriesSpec:
    """The series of a number that the loop logs; where its name is that of a statistic which is measured too, it is told apart
    by a label, as two things in one series would be neither."""
    taken = (LOGGED,) if name in measured else ()
    return SeriesSpec(statistic=name, family=TRAINING, labels=(*labels, *taken), dtype=dtype)


@dataclass(frozen=True)
class FrameSpec:
    """Series recorded together, in the order of their values. Keep one object per set: it is compared by identity."""

    series: tuple[SeriesSpec, ...]

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other
