"""Plasticity: units that no longer move or fire, and weights that no longer can."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "plasticity"

STATISTICS: tuple[Statistic, ...] = ()
