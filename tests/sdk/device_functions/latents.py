"""The row of a Gaussian posterior."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.statistics import latents


def _posterior(rows: int, width: int) -> dict[str, Tensor]:
    g = generator()
    paired = min(rows, latents.PAIRED, latents.rows_at_most(width))
    return {
        "mean": torch.randn(rows, width, generator=g),
        "log_variance": torch.randn(rows, width, generator=g),
        "valid": torch.rand(rows, generator=g) > 0.2,
        "noise": torch.randn(paired, width, generator=g),
        "uniform": torch.rand(rows, generator=g),
    }


FUNCTIONS = [
    DeviceFunction(
        "latents",
        lambda: _posterior(64, 8),
        lambda given: [latents.measure(given)],
        latents.series("z"),
    ),
    DeviceFunction(
        "latents, sampled",
        lambda: _posterior(530, 8200),
        lambda given: [latents.measure(given)],
        latents.series("z"),
    ),
]
