"""Mixture of experts: load and indecision of routers, pathways of tokens."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "experts"

STATISTICS: tuple[Statistic, ...] = ()
