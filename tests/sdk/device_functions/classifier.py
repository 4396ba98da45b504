"""The row of a classifier's logits, and the pieces that it is made of."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.statistics import output


def _classifier(rows: int, classes: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    g = generator()
    return {
        "logits": torch.randn(rows, classes, generator=g).to(dtype),
        "valid": torch.rand(rows, generator=g) > 0.2,
        "targets": torch.randint(-1, classes, (rows,), generator=g),
        "uniform": torch.rand(rows, generator=g),
    }


def _without(given: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in given.items() if name not in names}


FUNCTIONS = [
    DeviceFunction(
        "classifier",
        lambda: _classifier(60, 12),
        lambda given: [output.measure(_without(given, "uniform"), 1000)],
        output.series(("logits", "valid", "targets"), "head"),
    ),
    DeviceFunction(
        "classifier, sampled, without targets, half precision",
        lambda: _classifier(60, 12, torch.bfloat16),
        lambda given: [output.measure(_without(given, "targets"), 40)],
        output.series(("logits", "valid"), "head"),
    ),
    DeviceFunction(
        "classifier, several chunks",
        lambda: {**_classifier(60, 9000), "logits": _classifier(60, 9000)["logits"].reshape(6, 10, 9000)},
        lambda given: [output.measure(given, 50)],
        output.series(("logits", "valid", "targets"), "head"),
    ),
]
