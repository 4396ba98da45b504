"""Attention: how many keys a head looks at, and how large its logits grow."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "attention"

STATISTICS: tuple[Statistic, ...] = ()
