"""What normalisation layers and value heads show."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.statistics import heads, norms
from foreshock.measure.statistics.table import STATISTICS


def _layer(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    g = generator()
    return {
        "x": torch.randn(5, 6, 4, 4, generator=g).to(dtype),
        "gain": torch.rand(6, generator=g).to(dtype),
        "variance": torch.rand(6, generator=g),
    }


def _norm(given: dict[str, Tensor]) -> list[Tensor]:
    return [
        norms.stream(given["x"], 1),
        norms.gains(given["gain"]),
        norms.dead(given["variance"], 1e-5),
    ]


FUNCTIONS = [
    DeviceFunction("layers: a norm", _layer, _norm, norms.series("n", gained=True, tracked=True)),
    DeviceFunction(
        "layers: a norm, half precision",
        lambda: _layer(torch.bfloat16),
        _norm,
        norms.series("n", gained=True, tracked=True),
    ),
    DeviceFunction(
        "layers: a value head",
        lambda: {"values": torch.randn(4, 7, 1, generator=generator())},
        lambda given: [heads.values(given["values"])],
        [STATISTICS[name].series("v") for name in heads.YIELDS],
    ),
]
