"""Two series -> their ratio, how they go together, and how far they part.

A reading is made when each of the two has a new one since the last was made; of the one that reads more often its last counts. So each
reading counts once, and where one comes every step and the other every tenth, there is a reading every tenth step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from foreshock_server.rules.derived.derivation import Derivation, Last, Made, Moment, Process, last_of
from foreshock_server.rules.detectors.trend import pairs_of
from foreshock_server.rules.matching import Match

Pairs = tuple[tuple[float, float], ...]


class PairMemory(NamedTuple):
    """What is remembered between rows."""

    process: Process | None = None  # None: the first series has not been read yet
    first: Last | None = None  # that no reading was made of
    other: Last | None = None
    window: Pairs = ()  # as many as the measure is over


class Pairing(Derivation):
    """A series and another. From step 0: nothing until both have been read; what the other read before that is not counted."""

    other: Match = Field(
        description="the series it is compared with: of the same rank and, where both have one, of the same place"
    )

    @property
    def partner(self) -> Match:
        """As written."""
        return self.other

    @property
    def kept(self) -> int:
        """Pairs that it is over, and that are remembered."""
        return 0

    def made(self, first: float, other: float, window: Pairs) -> tuple[float, str] | None:
        """The number and what to say of it; None: there is none. `window` ends with this pair."""
        raise NotImplementedError

    def initial(self) -> PairMemory:
        """No reading seen."""
        return PairMemory()

    def take(
        self, memory: PairMemory, moment: Moment, first: Mapping[int, float], other: Sequence[float]
    ) -> tuple[PairMemory, Sequence[Made]]:
        """As `Derivation` says."""
        if memory.process is None and not first:
            return memory, ()
        if memory.process != moment.process:
            memory = memory._replace(process=moment.process, first=None, other=None)
        one = last_of(moment.step, list(first.values()), memory.first)
        two = last_of(moment.step, other, memory.other)
        if one is not None and two is not None and abs(one.step - two.step) > self.max_age_steps:
            one, two = (one, None) if first else (None, two)  # what was there before is too old
        if one is None or two is None:
            return memory._replace(first=one, other=two), ()
        window = (*memory.window, (one.value, two.value))[-self.kept :] if self.kept else ()
        now = PairMemory(moment.process, None, None, window)
        found = self.made(one.value, two.value, window) if len(window) == self.kept else None
        if found is None or not math.isfinite(found[0]):
            return now, ()
        return now, (Made(moment.step, moment.time, *found),)

    def dump(self, memory: PairMemory) -> dict[str, Any]:
        """As JSON."""
        return {
            "kind": type(self).__name__,
            "process": None if memory.process is None else list(memory.process),
            "first": None if memory.first is None else list(memory.first),
            "other": None if memory.other is None else list(memory.other),
            "window": [list(pair) for pair in memory.window],
        }

    def load(self, stored: Mapping[str, Any]) -> PairMemory:
        """From JSON."""
        if (
            stored.keys() != self.dump(self.initial()).keys()
            or stored["kind"] != self.dump(self.initial())["kind"]
        ):
            return self.initial()
        return PairMemory(
            None if stored["process"] is None else (stored["process"][0], stored["process"][1]),
            None if stored["first"] is None else Last(*stored["first"]),
            None if stored["other"] is None else Last(*stored["other"]),
            tuple((one, two) for one, two in stored["window"])[-self.kept :] if self.kept else (),
        )


class Ratio(Pairing):
    """The series over the other. Over zero there is no reading."""

    kind: Literal["ratio"]
    least: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="the other counts as no less than this, so that what is divided by little does not read as much",
    )

    def made(self, first: float, other: float, window: Pairs) -> tuple[float, str] | None:
        """Of this pair alone."""
        over = other if self.least is None else max(other, self.least)
        if over == 0:
            return None
        says = f"{first:,.3g} over {other:,.3g}"
        return first / over, says if over == other else f"{says}, which counts as {over:,.3g}"


class Correlation(Pairing):
    """Pearson's correlation of the two over the last pairs. Of a series that stands still there is none."""

    kind: Literal["correlation"]
    window: int = Field(32, ge=8, le=256, description="pairs that it is over; before there are so many, none")

    @property
    def kept(self) -> int:
        """All of them."""
        return self.window

    def made(self, first: float, other: float, window: Pairs) -> tuple[float, str] | None:
        """Over the window."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            both_2N = np.array(window, np.float64).T
            apart_2N = both_2N - both_2N.mean(1, keepdims=True)
            apart_2N /= np.abs(apart_2N).max(1, keepdims=True)  # so that squares neither vanish nor overflow
            squares_2 = (apart_2N**2).sum(1)
            value = float((apart_2N[0] * apart_2N[1]).sum() / math.sqrt(squares_2[0] * squares_2[1]))
        if not math.isfinite(value):
            return None
        return max(-1.0, min(1.0, value)), f"over {self.window} readings"


class Divergence(Pairing):
    """How far the series rose while the other fell over the last pairs: the lesser of the two, as a share of the highest level that each
    had meanwhile. Zero or less: they do not part. Levels are medians of blocks, so some odd readings change nothing."""

    kind: Literal["divergence"]
    window: int = Field(
        64, ge=16, le=256, multiple_of=8, description="pairs that it is over; before there are so many, none"
    )
    agreement: float = Field(
        0.75,
        ge=0.5,
        le=1,
        description="share of all pairs of the eight blocks that must go the same way; else it counts as no change",
    )
    holds: float | None = Field(
        None,
        ge=0,
        le=2,
        description="the other need not fall: it is enough that it rises by no more than this share",
    )
    falls: bool = Field(False, description="the other way round: the series fell while the other rose")

    @property
    def kept(self) -> int:
        """All of them."""
        return self.window

    def made(self, first: float, other: float, window: Pairs) -> tuple[float, str] | None:
        """Over the window."""
        rose, risen = self._changes(np.array(window, np.float64))
        says = f"{_way(rose)} while the other {_way(risen)}, over {self.window} readings"
        away, along = (-rose, -risen) if self.falls else (rose, risen)
        if self.holds is not None and along <= self.holds:
            return away, says
        return min(away, -along), says

    def _changes(self, pairs_N2: NDArray[np.float64]) -> tuple[float, float]:
        """From the first block to the last, along the line on which most blocks agree, of each of the two."""
        size = self.window // _BLOCKS
        ordered_BS2 = np.sort(pairs_N2.reshape(_BLOCKS, size, 2), axis=1)
        levels_B2 = ordered_BS2[:, (size - 1) // 2] / 2 + ordered_BS2[:, size // 2] / 2
        highest_2 = np.abs(levels_B2).max(0)
        shares_B2 = levels_B2 / np.where(highest_2 > 0, highest_2, 1.0)
        slopes_P2 = (shares_B2[_LATER] - shares_B2[_EARLIER]) / _APART
        slope_2 = np.sort(slopes_P2, axis=0)[_MIDDLE].sum(0) / 2
        agree_2 = (slopes_P2 * slope_2 > 0).sum(0) >= self.agreement * len(_APART)
        one, two = np.where(agree_2, slope_2 * (_BLOCKS - 1), 0.0).tolist()
        return one, two


_BLOCKS = 8
_EARLIER, _LATER = pairs_of(_BLOCKS)
_APART = (_LATER - _EARLIER).astype(np.float64)[:, None]
_MIDDLE = [len(_APART) // 2 - 1, len(_APART) // 2]  # of as many slopes, which is even


def _way(change: float) -> str:
    if change == 0:
        return "stayed"
    return f"{'rose' if change > 0 else 'fell'} by {abs(change):.0%}".replace("%", " %")
