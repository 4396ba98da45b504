"""Every probe, in the order of the watch table."""

from __future__ import annotations

from . import activations, optimiser
from .subject import Planned, Probe, Subject

PROBES: tuple[Probe, ...] = (
    activations.plan,
    optimiser.plan,
)


def planned(subject: Subject) -> list[Planned]:
    """What they would watch in this model."""
    return [line for probe in PROBES for line in probe(subject)]
