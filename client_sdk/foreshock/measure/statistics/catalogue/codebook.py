"""Codebooks: how many codes are in use."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "codebook"

STATISTICS: tuple[Statistic, ...] = ()
