"""Adaptation at test time: one class for everything."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "adaptation"

STATISTICS: tuple[Statistic, ...] = ()
