"""A layer's units."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.probes.units import series
from foreshock.measure.statistics import units


def _units(given: dict[str, Tensor]) -> list[Tensor]:
    parts = [units.activity(given["first"]), units.activity(given["second"])]
    return [units.shares(*units.joined(parts))]


def _activations() -> dict[str, Tensor]:
    g = generator()
    return {name: torch.randn(12, 8, generator=g).relu() for name in ("first", "second")}


FUNCTIONS = [DeviceFunction("units", _activations, _units, series("a", {}))]
