"""Diversity of what a model generates."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "diversity"

STATISTICS: tuple[Statistic, ...] = ()
