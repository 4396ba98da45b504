"""The optimizer's row."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.statistics import parameters
from foreshock.measure.statistics.table import STATISTICS


def _parameters() -> dict[str, Tensor]:
    g = generator()
    shapes = {"a.weight": (6, 4), "a.bias": (6,), "b.weight": (3, 6)}
    return {
        f"{kind}.{name}": torch.randn(*shape, generator=g)
        for kind in ("weight", "gradient", "after")
        for name, shape in shapes.items()
    }


def _grouped(given: dict[str, Tensor], kind: str) -> list[list[Tensor]]:
    return [
        [tensor for name, tensor in given.items() if name.startswith(f"{kind}.{place}.")]
        for place in ("a", "b")
    ]


def _optimiser(given: dict[str, Tensor]) -> list[Tensor]:
    weights, gradients, after = (_grouped(given, kind) for kind in ("weight", "gradient", "after"))
    return [
        parameters.norms(gradients),
        parameters.norms(weights),
        parameters.counts(gradients),
        parameters.counts(weights),
        parameters.update_ratios(parameters.samples(weights), parameters.samples(after)),
    ]


FUNCTIONS = [
    DeviceFunction(
        "optimiser",
        _parameters,
        _optimiser,
        [
            STATISTICS[name].series("a")
            for name in ("gradient_norm", "weight_norm", "update_ratio", "nonfinite_count")
        ],
    ),
]
