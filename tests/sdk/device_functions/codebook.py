"""The row of a codebook."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.statistics import codebook

SIZE = 12


def _codes(*names: str) -> dict[str, Tensor]:
    g = generator()
    everything = {
        "index": torch.randint(-1, SIZE + 1, (300,), generator=g),
        "memory": codebook.fresh(SIZE, torch.device("cpu")),
        "valid": torch.rand(300, generator=g) > 0.2,
        "gradient": torch.randn(SIZE, 3, generator=g),
    }
    return {name: everything[name] for name in ("index", "memory", *names)}


def _measure(given: dict[str, Tensor]) -> list[Tensor]:
    readings, memory = codebook.measure(given, given["memory"])
    return [readings, memory.reshape(-1)]


FUNCTIONS = [
    DeviceFunction("codebook", lambda: _codes(), _measure, codebook.series("quantizer")),
    DeviceFunction(
        "codebook, masked, with its gradient",
        lambda: _codes("valid", "gradient"),
        _measure,
        codebook.series("quantizer", ("gradient",)),
    ),
    DeviceFunction(
        "codebook, one-hot",
        lambda: {"rows": torch.eye(SIZE)},
        lambda given: [codebook.from_one_hot(given["rows"]).float()],
        [],
    ),
]
