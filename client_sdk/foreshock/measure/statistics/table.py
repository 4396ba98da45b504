"""Every statistic that the SDK computes, by name: gathered from the catalogue's families. Importing this needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

from .catalogue import (
    adaptation,
    attention,
    codebook,
    collapse,
    directions,
    diversity,
    experts,
    features,
    landscape,
    latents,
    layers,
    numerics,
    optimiser,
    output,
    plasticity,
    policy_entropy,
    representation,
    signal,
    spectra,
    tasks,
    weights,
)
from .catalogue.entry import Statistic

_FAMILIES = (
    policy_entropy,
    signal,
    representation,
    features,
    collapse,
    spectra,
    weights,
    attention,
    output,
    experts,
    tasks,
    codebook,
    latents,
    diversity,
    plasticity,
    layers,
    optimiser,
    directions,
    landscape,
    numerics,
    adaptation,
)

STATISTICS: Mapping[str, Statistic] = {
    statistic.name: statistic for family in _FAMILIES for statistic in family.STATISTICS
}
FAMILIES: tuple[str, ...] = tuple(
    dict.fromkeys(family.FAMILY for family in _FAMILIES)
)  # in the order of the page
