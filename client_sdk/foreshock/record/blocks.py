"""Rows in any order of frames -> the row groups of blocks: order within each series is kept, equal frames stand together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foreshock.guard import say_once
from foreshock.losses import Losses
from foreshock.series import TRAINING, FrameSpec, SeriesSpec, logged, logged_entries

from .wire import Rows, Values

SETS = 64  # distinct sets of names that become frames; after that each new name is a frame of its own
NAMES = 10_000  # series that one process may name; a name made from the step number would fill any store
LONGEST_NAME = 200


class HostFrames:
    """What the loop logged at one step, a mapping of names to numbers -> float64 frames with their values."""

    def __init__(self, losses: Losses, labels: tuple[tuple[str, str], ...]) -> None:
        self._losses = losses
        self._labels = labels
        self._sets: dict[tuple[str, ...], tuple[FrameSpec, tuple[str, ...]]] = {}
        self._by_names: dict[tuple[str, ...], FrameSpec] = {}
        self._single: dict[str, FrameSpec] = {}
        self._vectors: dict[tuple[str, int], FrameSpec] = {}
        self._names: dict[str, bool] = {}  # name -> may it be recorded?
        self._measured: set[str] = set()

    def claim(self, frame: FrameSpec) -> None:
        """These series are measured: from now on what is logged under the same name is told apart."""
        own = {
            self._names_of(spec) for spec in frame.series if spec.family != TRAINING and not spec.place
        } - {""}
        new = own - self._measured
        self._measured |= new
        if new & self._names.keys():
            self._sets.clear()
            self._by_names.clear()
            self._single.clear()
            self._vectors.clear()

    def _names_of(self, spec: SeriesSpec) -> str:
        """The name under which a logged number would be the same series; empty where none could."""
        return spec.statistic if set(spec.labels) <= set(self._labels) else ""

    def split(
        self, numbers: Mapping[str, Any]
    ) -> Iterator[tuple[FrameSpec, NDArray[np.float64], NDArray[np.bool_] | None]]:
        """Frame, values, and which of them are no readings after all."""
        known = self._sets.get(tuple(numbers))
        if known is None:
            names = tuple(sorted(name for name in numbers if self._allowed(name)))
            frame = self._by_names.get(names)
            if not names:
                return
            if frame is None and len(self._by_names) >= SETS:
                for name in names:
                    yield self._lone(name), *self._numbers((name,), numbers)
                return
            if frame is None:
                frame = self._by_names[names] = FrameSpec(tuple(self._spec(name) for name in names))
            known = frame, names
            if len(self._sets) < 16 * SETS:  # the same names in another order
                self._sets[tuple(numbers)] = known
        frame, names = known
        yield frame, *self._numbers(names, numbers)

    def vector(self, name: str, size: int) -> FrameSpec | None:
        """The frame of a vector by itself; None, and counted, when the contract cannot carry its name."""
        if not self._allowed(name):
            return None
        known = self._vectors.get((name, size))
        if known is None:
            specs = logged_entries(name, size, self._measured, self._labels, "f64")
            known = self._vectors[name, size] = FrameSpec(specs)
        return known

    def _numbers(
        self, names: tuple[str, ...], numbers: Mapping[str, Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
        try:
            return np.array([numbers[name] for name in names], np.float64), None
        except (OverflowError, TypeError, ValueError):  # an integer beyond float64, say
            pass
        values = np.zeros(len(names))
        absent = np.zeros(len(names), np.bool_)
        for position, name in enumerate(names):
            try:
                values[position] = float(numbers[name])
            except (OverflowError, TypeError, ValueError):
                absent[position] = True
                self._losses.add("not a float64")
        return values, absent

    def _allowed(self, name: str) -> bool:
        """Whether the contract can carry the name; if not, that is counted, and said once."""
        allowed = self._names.get(name)
        if allowed is None:
            if len(self._names) >= NAMES:
                say_once(
                    ("names", id(self)),
                    "more than %d names were logged, such as %.60r; further ones are dropped",
                    NAMES,
                    name,
                )
                self._losses.add("too many names")
                return False
            allowed = 1 <= len(name) <= LONGEST_NAME and name.isprintable() and not set(name) & set("{}")
            self._names[name] = allowed
            if not allowed:
                say_once(
                    ("name", name),
                    "cannot record %.60r: name it with 1 to %d printable characters, no braces",
                    name,
                    LONGEST_NAME,
                )
        if not allowed:
            self._losses.add("name not allowed")
        return allowed

    def _lone(self, name: str) -> FrameSpec:
        if name not in self._single:
            self._single[name] = FrameSpec((self._spec(name),))
        return self._single[name]

    def _spec(self, name: str) -> SeriesSpec:
        return logged(name, self._measured, self._labels, "f64")


class Groups:
    """Rows of frames -> the fewest row groups that keep every series in order of arrival."""

    def __init__(self) -> None:
        self._closed: list[Rows] = []
        self._growing: dict[int, _Growing] = {}
        self._alone = False
        self.bytes = 0
        self.readings = 0

    def add(
        self,
        frame: int,
        step: int,
        time: float,
        values: Values,
        absent: NDArray[np.bool_] | None,
        *,
        alone: bool,
    ) -> None:
        """One row. `alone`: the frame is of one series; such frames share none, and their groups may grow side by side."""
        growing = self._growing.get(frame)
        if (self._growing and not (alone and self._alone) and growing is None) or (
            growing and growing.steps[-1] > step
        ):
            self._close()
            growing = None
        if growing is None:
            growing = self._growing[frame] = _Growing(frame)
        self._alone = alone
        growing.steps.append(step)
        growing.times.append(time)
        growing.values.append(values)
        growing.absent.append(absent)
        self.bytes += 16 + values.nbytes
        self.readings += values.size - (0 if absent is None else int(absent.sum()))

    def take(self) -> list[Rows]:
        """All groups; what follows begins anew."""
        self._close()
        taken, self._closed = self._closed, []
        self.bytes = self.readings = 0
        return taken

    def _close(self) -> None:
        self._closed.extend(growing.rows() for growing in self._growing.values())
        self._growing = {}


class _Growing:
    def __init__(self, frame: int) -> None:
        self.frame = frame
        self.steps: list[int] = []
        self.times: list[float] = []
        self.values: list[Values] = []
        self.absent: list[NDArray[np.bool_] | None] = []

    def rows(self) -> Rows:
        values: Values = np.stack(self.values)  # type: ignore[assignment] # all of one frame, so of one dtype
        absent = None
        if any(mask is not None for mask in self.absent):
            nothing = np.zeros(values.shape[1], np.bool_)
            absent = np.stack([nothing if mask is None else mask for mask in self.absent])
        return Rows(
            self.frame, np.array(self.steps, np.int64), np.array(self.times, np.float64), values, absent
        )
