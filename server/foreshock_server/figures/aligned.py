"""Readings of several runs -> curves on one axis: steps, hours since each run began, or steps from each run's alert; their mean
and range. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock_server.figures.curves import curve
from foreshock_server.figures.scene import Curve, SeriesInfo
from foreshock_server.query import vectors
from foreshock_server.store.columns import Columns
from foreshock_server.store.overview import Overview

Align = Literal["step", "time", "alert"]
MILLISECONDS = 3_600_000  # of an hour
CELLS = 200  # of the axis, at which runs are brought together


class Told(NamedTuple):
    """When an alert fired."""

    step: int
    at: float  # seconds since 1970, by the training process


@dataclass(frozen=True)
class Member:
    """One run on the common axis."""

    run: str
    name: str
    curve: Curve
    alert: float | None  # where on the axis it fired


class Spread(NamedTuple):
    """Several runs as one, at CELLS places."""

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def member(
    run: str, name: str, began: float, info: SeriesInfo, found: Overview, align: Align, alert: Told | None
) -> Member | None:
    """The run where it stands on the axis; None: it cannot stand there, as it has no alert."""
    if align == "alert" and alert is None:
        return None
    origin = alert.step if align == "alert" and alert is not None else 0
    data = _on(found.columns, align, began, origin)
    means = None if found.means is None else _on(found.means, align, began, origin)
    drawn = curve(info, data.steps, vectors.course(data.values), data.attempts, means=means)
    at = None if alert is None else float(alert.step - origin)
    if align == "time":
        drawn = _hours(drawn)
        at = None if alert is None else (alert.at - began) / 3600
    return Member(run, name, drawn, at)


def _on(data: Columns, align: Align, began: float, origin: int) -> Columns:
    """Whole numbers as an axis, as the curves want them: of time, milliseconds."""
    if align == "time":
        return replace(data, steps=np.round((data.times - began) * 1000).astype(np.int64))
    return replace(data, steps=data.steps - origin)


def _hours(drawn: Curve) -> Curve:
    axes: dict[str, Any] = {
        name: getattr(drawn, name) / MILLISECONDS for name in ("steps", "odd_steps", "course_steps")
    }
    return replace(drawn, **axes)


def spread(members: Sequence[Member], *, everywhere: bool = True) -> Spread | None:
    """The mean over the runs and the least and greatest of them, where all have readings; with `everywhere` False, where half have.

    Each run counts once, by the line of its medians, drawn straight between its points. None: nowhere are there so many.
    """
    lines = [line for one in members if len((line := _line(one.curve))[0])]
    if not lines or (everywhere and len(lines) < len(members)):
        return None
    first, last = [line[0][0] for line in lines], [line[0][-1] for line in lines]
    ends = (max(first), min(last)) if everywhere else (min(first), max(last))
    if ends[0] >= ends[1]:
        return None
    x = np.linspace(*ends, CELLS)
    table = np.stack([np.interp(x, *line, left=np.nan, right=np.nan) for line in lines])
    keep = np.isfinite(table).sum(axis=0) >= (len(lines) if everywhere else max(1, len(lines) / 2))
    x, table = x[keep], table[:, keep]
    return Spread(x, np.nanmean(table, axis=0), np.nanmin(table, axis=0), np.nanmax(table, axis=0))


def course(drawn: Curve) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The line of its medians, or of its readings where they are few; a NaN breaks it."""
    return (
        (drawn.course_steps, drawn.course_values) if len(drawn.course_values) else (drawn.steps, drawn.values)
    )


def _line(drawn: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same without breaks, in order, as a resumed run goes back."""
    x, y = course(drawn)
    keep = np.isfinite(y)
    order = np.argsort(x[keep], kind="stable")
    return x[keep][order].astype(np.float64), y[keep][order]


def level_at(drawn: Curve, x: float) -> float:
    """The height of the line there; NaN beyond its ends."""
    at, values = _line(drawn)
    return float(np.interp(x, at, values, left=np.nan, right=np.nan)) if len(at) else float("nan")
