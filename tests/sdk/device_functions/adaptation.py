"""The row of a model that adapts itself."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.statistics import adaptation


def _batch(samples: int, classes: int) -> dict[str, Tensor]:
    g = generator()
    return {
        "logits": torch.randn(samples, classes, generator=g),
        "valid": torch.rand(samples, generator=g) > 0.2,
        "uniform": torch.rand(samples, generator=g),
        "memory": torch.zeros(adaptation.ROWS, classes),
    }


def _measure(given: dict[str, Tensor], rows_at_most: int) -> list[Tensor]:
    shown = {name: given[name] for name in ("logits", "valid", "uniform")}
    return [adaptation.measure(shown, given["memory"].clone(), rows_at_most)]


FUNCTIONS = [
    DeviceFunction(
        "adaptation",
        lambda: _batch(32, 10),
        lambda given: _measure(given, 1000),
        adaptation.series("adaptation"),
    ),
    DeviceFunction(
        "adaptation, sampled",
        lambda: _batch(40, 10),
        lambda given: _measure(given, 30),
        adaptation.series("adaptation"),
    ),
]
