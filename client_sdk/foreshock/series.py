"""What a number is: statistic, place, unit. A Series is named once; a Frame is the series that are recorded together."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Literal


def key_of(statistic: str, labels: Mapping[str, str]) -> str:
    """`statistic` or `statistic{label=value,…}`, the labels in the order given: alphabetical, as the contract has it."""
    if not labels:
        return statistic
    return f"{statistic}{{{','.join(f'{name}={value}' for name, value in labels.items())}}}"


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
    layout: tuple[tuple[str, str | int], ...] = field(
        default=(), compare=False
    )  # in place of `merge`, where ranks share rows: which part this is, and how parts become one
    along: str | None = field(
        default=None, compare=False
    )  # the label that tells the entries of a vector apart, this being one of them; None: a number by itself

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
        return key_of(self.statistic, self.all_labels)

    def replicated(self, merge: str | None = "mean") -> SeriesSpec:
        """The same where every rank reads the same thing, and not a part of one: adding the ranks up would count it again."""
        return self if self.merge is None else replace(self, merge=merge, weight=None)

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
                **({"layout": dict(self.layout)} if self.layout else {}),
            },
        }


def gathered(series: Sequence[SeriesSpec]) -> Iterator[tuple[SeriesSpec, ...]]:
    """The entries of each vector together, each number by itself; in their order."""
    for _, some in groupby(enumerate(series), key=lambda one: _vector_of(*one)):
        yield tuple(spec for _, spec in some)


def described(some: tuple[SeriesSpec, ...]) -> Mapping[str, Any]:
    """The object that the wire contract calls a series: of a number, or of the entries of a vector."""
    along = some[0].along
    if along is None:
        return some[0].on_wire()
    labels = tuple((name, value) for name, value in some[0].labels if name != along)
    axis: dict[str, Any] = {"name": along, "size": len(some)}
    ticks = [dict(one.labels)[along] for one in some]
    if ticks != [str(place) for place in range(len(some))]:
        axis["ticks"] = ticks
    return {**replace(some[0], labels=labels).on_wire(), "axis": axis}


def _vector_of(place: int, spec: SeriesSpec) -> object:
    """What consecutive entries of one vector share, and nothing else does."""
    if spec.along is None:
        return place
    labels = frozenset(pair for pair in spec.labels if pair[0] != spec.along)
    return spec.statistic, spec.place, labels, spec.along, spec.dtype


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


def logged_entries(
    name: str,
    size: int,
    measured: Container[str],
    labels: tuple[tuple[str, str], ...] = (),
    dtype: Literal["f32", "f64"] = "f32",
) -> tuple[SeriesSpec, ...]:
    """The entries of a vector that the loop logs."""
    one = replace(logged(name, measured, labels, dtype), along="entry")
    return tuple(replace(one, labels=(*one.labels, ("entry", str(place)))) for place in range(size))


@dataclass(frozen=True)
class FrameSpec:
    """Series recorded together, in the order of their values. Keep one object per set: it is compared by identity."""

    series: tuple[SeriesSpec, ...]

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other
