"""Output logits: their size, and what the softmax makes of it."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "output logits"

STATISTICS: tuple[Statistic, ...] = ()
