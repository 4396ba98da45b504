"""The row of generated samples."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.statistics import diversity


def _samples(*names: str) -> dict[str, Tensor]:
    g = generator()
    everything = {
        "x": torch.randn(40, 6, generator=g),
        "uniform": torch.rand(40, generator=g),
        "reference": torch.randn(30, 6, generator=g),
        "uniform_reference": torch.rand(30, generator=g),
    }
    return {name: everything[name] for name in ("x", *names)}


FUNCTIONS = [
    DeviceFunction(
        "samples", lambda: _samples(), lambda given: [diversity.measure(given)], diversity.series("g")
    ),
    DeviceFunction(
        "samples, against a reference, sampled",
        lambda: _samples("uniform", "reference", "uniform_reference"),
        lambda given: [diversity.measure(given, 25)],
        diversity.series("g", ("reference",)),
    ),
]
