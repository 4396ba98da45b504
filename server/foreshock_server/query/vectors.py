"""Readings of a vector -> some of its entries, its course as one number a step, where it is not finite. Pure; numbers pass through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foreshock_server.errors import Invalid
from foreshock_server.store.columns import Columns


@dataclass(frozen=True)
class Entries:
    """Which entries of a vector an answer carries."""

    axis: Mapping[str, Any]  # of these
    places: tuple[int, ...] | None  # None: all


def ticks(axis: Mapping[str, Any]) -> list[str | float]:
    """The name of each entry: as told, else its number from 0."""
    return list(axis.get("ticks") or range(int(axis["size"])))


def chosen(key: str, axis: Mapping[str, Any] | None, entries: Sequence[str]) -> Entries | None:
    """Those of these names, or all when none is named; None for a number. Invalid for a name that it has not."""
    if axis is None:
        return None
    if not entries:
        return Entries(axis, None)
    known = ticks(axis)
    places = {str(place): place for place in range(len(known))}
    places |= {f"{tick:g}" if isinstance(tick, float) else str(tick): i for i, tick in enumerate(known)}
    wanted = list(dict.fromkeys(entries))
    for name in wanted:
        if name not in places:
            raise Invalid(
                f"{key} has no {axis['name']} {name!r}; write one of {', '.join(list(places)[:10])}"
                f"{' …' if len(places) > 10 else ''}.",
                field="entry",
            )
    found = tuple(places[name] for name in wanted)
    return Entries({"name": axis["name"], "size": len(found), "ticks": [known[i] for i in found]}, found)


def part(data: Columns, entries: Entries | None) -> Columns:
    """The readings with these entries alone; a vector without readings has its width too."""
    if entries is None:
        return data
    values = data.values if len(data) else np.empty((0, _width(entries)))
    if entries.places is not None and len(data):
        values = np.ascontiguousarray(values[:, list(entries.places)])
    return replace(data, values=values)


def course(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n]: the numbers, or of a vector the mean of its finite entries; NaN where it has none."""
    if values.ndim == 1:
        return values
    finite = np.isfinite(values)
    count = finite.sum(1)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(np.where(finite, values, 0.0).sum(1) / np.where(count, count, np.nan))


def odd(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[n]: where a reading, or an entry of it, is not finite."""
    wrong: NDArray[np.bool_] = ~np.isfinite(values)
    return wrong if values.ndim == 1 else np.asarray(wrong.any(1))


def _width(entries: Entries) -> int:
    return int(entries.axis["size"])
