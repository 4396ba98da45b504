"""Latents of variational models: which of them carry information."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "latents"

STATISTICS: tuple[Statistic, ...] = ()
