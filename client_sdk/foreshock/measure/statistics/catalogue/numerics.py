"""Numerics: what is not finite, saturated or lost in rounding."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "numerics"

STATISTICS: tuple[Statistic, ...] = (
    Statistic(
        name="nonfinite_count",
        family=FAMILY,
        title="NaN and infinite values",
        unit="values",
        low=0.0,
        high=None,
        formula="",
        source="exact count",
        degenerate="0 without values",
        healthy="",
        collapsed="",
        cost="moments",
    ),
)
