"""Samples over time -> does it grow? The median slope between pairs of samples, which a spike does not move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

WARM = 0.3  # the share of the time that is not looked at: caches fill, the first tables are made
MOST_SAMPLES = 200


@dataclass(frozen=True)
class Growth:
    """How much a quantity grew from the end of the warm-up to the end, by its trend, beside its middle level."""

    by: float
    level: float

    def exceeds(self, share: float, least: float) -> bool:
        """True when it grew by more than this share of its level, and by more than `least`."""
        return self.by > max(share * abs(self.level), least)


def growth(times: Sequence[float], values: Sequence[float]) -> Growth:
    """The growth in these samples; two beyond the warm-up are the fewest."""
    if len(times) != len(values):
        raise ValueError(f"{len(times)} times and {len(values)} values; write one value for each time")
    begin = times[0] + WARM * (times[-1] - times[0]) if times else 0.0
    kept = [(t, v) for t, v in zip(times, values, strict=True) if t >= begin]
    kept = kept[:: max(1, len(kept) // MOST_SAMPLES)]
    if len(kept) < 2 or kept[0][0] == kept[-1][0]:
        raise ValueError(f"{len(kept)} samples beyond the warm-up; run it for longer")
    slope = median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(kept, 2) if b[0] > a[0])
    return Growth(slope * (kept[-1][0] - kept[0][0]), median(v for _, v in kept))
