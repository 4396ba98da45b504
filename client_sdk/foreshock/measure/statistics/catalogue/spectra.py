"""Spectra of features and weights beyond the effective rank."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "representation"

STATISTICS: tuple[Statistic, ...] = ()
