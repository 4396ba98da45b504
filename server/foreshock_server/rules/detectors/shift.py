"""Readings -> a breach while their level lies far below (drop) or above (rise) what the run itself has shown, or beyond a line.

Against what is said by `against`:

- *first*: the median of the first `baseline_records` readings, frozen. It is trusted only where it lies within `trust_from` and
  `trust_to`, and where those readings scatter by no more than `scatter` of it; a baseline that is not trusted is never compared with;
- *best*: the best running median so far. It follows a statistic that starts low up, and never follows a collapse down. Over
  thousands of noisy readings the best one lies some scatters above the usual one: leave room for it in `to`.

*From step 0*: once the running median is full, a level beyond `absolute` is a breach whatever the baseline is, so that a run which
starts collapsed is told then, and one with a baseline that cannot be trusted is not left alone. Without `absolute` nothing is said
before the baseline is there, and nothing ever where it is not trusted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from foreshock_server.rules.detectors.every import EveryReading
from foreshock_server.rules.detectors.reading import TO_SIGMA, Baseline, Quiet, Reading, middle_of
from foreshock_server.rules.detectors.trend import running_middles
from foreshock_server.rules.reduction import Reduction


class ShiftMemory(NamedTuple):
    """What is remembered between readings."""

    baseline: Baseline = Baseline()
    scatter: float | None = None  # of the readings that made it, as a share of it
    best: float | None = None
    seen: int = 0  # levels, up to baseline_records
    recent: tuple[float, ...] = ()  # the window of the running median


class _Lines(NamedTuple):
    """Where it is a breach, where critical, and from where on it can resolve."""

    warn: float
    critical: float | None
    clear: float


class Shift(EveryReading):
    """The parameters of one rule; windows are in readings, whatever the steps between them."""

    kind: Literal["drop", "rise"]
    to: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="breach beyond this multiple of the baseline"
    )
    by: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="breach when it is farther than this from the baseline"
    )
    critical: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="critical beyond this, in the measure of `to` or `by`"
    )
    clear: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="resolves only on the good side of this, in the same measure",
    )
    absolute: float | None = Field(
        None, allow_inf_nan=False, description="breach beyond this level, whatever the baseline"
    )
    absolute_critical: float | None = Field(
        None, allow_inf_nan=False, description="critical beyond this level, whatever the baseline"
    )
    absolute_clear: float | None = Field(
        None,
        allow_inf_nan=False,
        description="resolves only on the good side of this; default: of `absolute`",
    )
    against: Literal["first", "best"] = Field(
        "first", description="first: the median of the first readings; best: the best level so far"
    )
    baseline_records: int = Field(10, ge=1, le=2000, description="readings before there is a baseline")
    baseline: float | None = Field(None, allow_inf_nan=False, description="where it is known beforehand")
    trust_from: float | None = Field(
        None, allow_inf_nan=False, description="a first baseline below this is not trusted"
    )
    trust_to: float | None = Field(
        None, allow_inf_nan=False, description="a first baseline above this is not trusted"
    )
    scatter: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="nor is one whose readings scatter (1.4826 MAD) by more than this share of it",
    )
    median: int = Field(9, ge=1, le=101, description="the level is the median of this many readings")

    @model_validator(mode="after")
    def _levels_agree(self) -> Shift:
        if (self.to is None) == (self.by is None):
            raise ValueError("write exactly one of `to: MULTIPLE` and `by: DIFFERENCE`")
        if self.to is not None and (self.to - 1) * self._sign <= 0:
            side = "above" if self.kind == "rise" else "below"
            raise ValueError(f"`to: {self.to:g}` must lie {side} 1, as it is a {self.kind}")
        far = 1.0 if self.to is None else self._sign
        first = self.by if self.to is None else self.to
        for name, one, way in (("critical", self.critical, 1), ("clear", self.clear, -1)):
            if one is not None and first is not None and (one - first) * far * way < 0:
                raise ValueError(f"`{name}: {one:g}` lies on the wrong side of the level {first:g}")
        for name, level, way in (
            ("absolute_critical", self.absolute_critical, 1),
            ("absolute_clear", self.absolute_clear, -1),
        ):
            if level is None:
                continue
            if self.absolute is None:
                raise ValueError(f"`{name}` needs `absolute: LEVEL`")
            if (level - self.absolute) * self._sign * way < 0:
                raise ValueError(f"`{name}: {level:g}` lies on the wrong side of {self.absolute:g}")
        if self.against == "best" and any(
            one is not None for one in (self.baseline, self.trust_from, self.trust_to, self.scatter)
        ):
            raise ValueError(
                "`baseline`, `trust_from`, `trust_to` and `scatter` are about `against: first`; leave them out"
            )
        return self

    @property
    def _sign(self) -> float:
        return 1.0 if self.kind == "rise" else -1.0

    @property
    def worst(self) -> Reduction:
        """The entry nearest to the far side."""
        return "max" if self.kind == "rise" else "min"

    def turned(self) -> Shift | None:
        """A rise for a drop, with multiples turned into their reciprocals; None where a line of its own is named."""
        if self.absolute is not None:
            return None
        further = {
            name: 1.0 / one if self.to is not None else one
            for name, one in (("critical", self.critical), ("clear", self.clear))
            if one is not None
        }
        to = None if self.to is None else 1.0 / self.to
        other = "drop" if self.kind == "rise" else "rise"
        return self.model_copy(update={"kind": other, "to": to, **further})

    def initial(self) -> ShiftMemory:
        """No reading seen."""
        return ShiftMemory(Baseline(self.baseline))

    def update(self, memory: ShiftMemory, step: int, value: float) -> tuple[ShiftMemory, Reading]:
        """The memory after one more reading, and what it says. One that is not finite is another rule's news: skipped."""
        if not math.isfinite(value):
            return memory, Reading(None, value=value, baseline=self._against(memory))
        baseline, scatter = memory.baseline, memory.scatter
        if self.against == "first" and baseline.value is None:
            gathered = (*baseline.gathered, value)
            baseline = baseline.after(value, self.baseline_records)
            scatter = None if baseline.value is None else _scatter(gathered, baseline.value)
        recent = (*memory.recent, value)[-self.median :]
        now = ShiftMemory(baseline, scatter, memory.best, memory.seen, recent)
        if len(recent) < self.median:
            return now, Reading(None, value=value, baseline=self._against(now))
        level = middle_of(recent)
        if self.against == "best" and math.isfinite(level):
            best = (
                level
                if memory.best is None
                else -self._sign * max(-self._sign * memory.best, -self._sign * level)
            )
            now = now._replace(best=best, seen=min(memory.seen + 1, self.baseline_records))
        return now, self._said(value, level, self._against(now))

    def quiet(self, memory: ShiftMemory) -> Quiet | None:
        """Those on the good side of all lines, and against the best level: no better than that, as it stays what it is."""
        base = self._against(memory)
        is_settled = base is not None if self.against == "best" else memory.baseline.value is not None
        if not is_settled or len(memory.recent) < self.median:
            return None
        known = self._known(base)
        if not known:
            return None
        sign = self._sign
        warn = sign * min(sign * one.warn for one in known)
        best = base if base is not None and self.against == "best" else -sign * math.inf
        low, high = (best, warn) if self.kind == "rise" else (warn, best)
        level = middle_of(memory.recent)
        return Quiet.under_median(low, high, memory.recent) if low <= level <= high else None

    def pass_over(
        self, memory: ShiftMemory, steps: Sequence[int], values: NDArray[np.float64]
    ) -> tuple[ShiftMemory, Sequence[bool]]:
        """All at once: the baseline is frozen, or no level betters it."""
        sign, level = self._sign, running_middles(memory.recent, values, self.median)
        clear = np.all(
            [sign * level <= sign * one.clear for one in self._known(self._against(memory))], axis=0
        )
        recent = (*memory.recent, *values[-self.median :].tolist())[-self.median :]
        return memory._replace(recent=recent), clear.tolist()

    @property
    def renews(self) -> bool:
        """True where it measures from what the run began with: the best level renews itself."""
        return self.against == "first"

    def renewed(self, memory: ShiftMemory) -> ShiftMemory:
        """Measured from what was reached; its scatter is that of the beginning."""
        return memory._replace(baseline=memory.baseline.renewed(memory.recent, int(-self._sign)))

    def _against(self, memory: ShiftMemory) -> float | None:
        """What the level is compared with; None while there is nothing, or nothing that can be trusted."""
        if self.against == "best":
            base = memory.best if memory.seen >= self.baseline_records else None
        else:
            base = memory.baseline.value
            if base is not None and (
                (self.trust_from is not None and base < self.trust_from)
                or (self.trust_to is not None and base > self.trust_to)
                or (self.scatter is not None and memory.scatter is not None and memory.scatter > self.scatter)
            ):
                base = None
        return None if base is None or (self.to is not None and base <= 0) else base

    def _said(self, value: float, level: float, base: float | None) -> Reading:
        sign, known = self._sign, self._known(base)
        if not known:
            return Reading(None, value=value, baseline=base)
        nearest = min(known, key=lambda one: sign * one.warn)  # the one that a worsening level meets first
        return Reading(
            any(sign * level > sign * one.warn for one in known),
            any(one.critical is not None and sign * level > sign * one.critical for one in known),
            all(sign * level <= sign * one.clear for one in known),
            value,
            level,
            base,
            nearest.warn if nearest.critical is None else nearest.critical,
            None if nearest.critical is None else nearest.warn,
            nearest.clear,
        )

    def _known(self, base: float | None) -> list[_Lines]:
        """Those by the baseline, where there is one, and those of its own."""
        known = [] if base is None else [self._lines(base)]
        if self.absolute is not None:
            clear = self.absolute if self.absolute_clear is None else self.absolute_clear
            known.append(_Lines(self.absolute, self.absolute_critical, clear))
        return known

    def _lines(self, base: float) -> _Lines:
        def line(measure: float) -> float:
            return base * measure if self.to is not None else base + self._sign * measure

        warn = self.to if self.to is not None else self.by
        assert warn is not None  # noqa: S101 (validated)
        clear = line(warn if self.clear is None else self.clear)
        return _Lines(line(warn), None if self.critical is None else line(self.critical), clear)

    def dump(self, memory: ShiftMemory) -> dict[str, Any]:
        """As JSON."""
        return {
            "baseline": memory.baseline.value,
            "gathered": list(memory.baseline.gathered),
            "scatter": memory.scatter,
            "kind": self.kind,
            "best": memory.best,
            "seen": memory.seen,
            "recent": list(memory.recent),
        }

    def load(self, stored: Mapping[str, Any]) -> ShiftMemory:
        """From JSON; the best of the other direction is forgotten."""
        if stored.keys() != self.dump(self.initial()).keys() or stored["kind"] != self.kind:
            return self.initial()
        return ShiftMemory(
            Baseline(
                stored["baseline"] if self.baseline is None else self.baseline, tuple(stored["gathered"])
            ),
            stored["scatter"],
            stored["best"],
            stored["seen"],
            tuple(stored["recent"])[-self.median :],
        )


def _scatter(gathered: tuple[float, ...], middle: float) -> float | None:
    """None where the middle is zero, or where it is too large for a number: then nothing is known of it."""
    if middle == 0:
        return None
    share = TO_SIGMA * middle_of([abs(one - middle) for one in gathered]) / abs(middle)
    return share if math.isfinite(share) else None
