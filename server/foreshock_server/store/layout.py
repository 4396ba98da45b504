"""A frame -> which columns of its values belong to which of its series: a number has one, a vector as many as it has entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class FrameLike(Protocol):
    """What of a frame says how its columns are laid out."""

    @property
    def series_ids(self) -> Sequence[int]: ...
    @property
    def widths(self) -> Sequence[int | None] | None: ...


class Slot(NamedTuple):
    """The columns of one series in its frame."""

    series_id: int
    first: int
    width: int | None  # None: a number, in one column; else a vector of so many entries

    @property
    def columns(self) -> slice:
        """Where they stand among those of the frame."""
        return slice(self.first, self.first + (self.width or 1))

    def of(self, matrix_NC: NDArray[Any]) -> NDArray[Any]:
        """Its part of the values: [n] of a number, [n, width] of a vector. A view."""
        return matrix_NC[:, self.first] if self.width is None else matrix_NC[:, self.columns]


def slots(frame: FrameLike) -> list[Slot]:
    """Of each series, in the order of the columns."""
    if frame.widths is None:
        return [Slot(number, place, None) for place, number in enumerate(frame.series_ids)]
    found, first = [], 0
    for number, width in zip(frame.series_ids, frame.widths, strict=True):
        found.append(Slot(number, first, width))
        first += width or 1
    return found


def column_count(frame: FrameLike) -> int:
    """How many values a step of the frame has."""
    if frame.widths is None:
        return len(frame.series_ids)
    return sum(width or 1 for width in frame.widths)


def column_owners(frame: FrameLike) -> NDArray[np.int64]:
    """The series id of each column."""
    ids = np.asarray(frame.series_ids, np.int64)
    return ids if frame.widths is None else np.repeat(ids, [width or 1 for width in frame.widths])


def size_of(axis: Mapping[str, Any] | None) -> int | None:
    """The entries of a series with this axis; None for a number."""
    return None if axis is None else int(axis["size"])
