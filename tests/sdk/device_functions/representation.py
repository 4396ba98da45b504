"""The rows of a matrix."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, matrix
from torch import Tensor

from foreshock.measure.statistics import representation


def _representation(given: dict[str, Tensor]) -> list[Tensor]:
    values, product = representation.measure(given, rows_at_most=100)
    return [values, product.payload()]


_REPRESENTATION = [
    *representation.series("h", labelled=True),
    *representation.finished_series("h", histogram=True),
]

FUNCTIONS = [
    DeviceFunction("representation", lambda: matrix(96, 16), _representation, _REPRESENTATION),
    DeviceFunction("representation, sampled", lambda: matrix(200, 16), _representation, _REPRESENTATION),
    DeviceFunction("representation, wide", lambda: matrix(16, 96), _representation, _REPRESENTATION),
    DeviceFunction(
        "representation, beyond the columns", lambda: matrix(8, 5000), _representation, _REPRESENTATION
    ),
    DeviceFunction(
        "representation, half precision",
        lambda: matrix(96, 16, torch.bfloat16),
        _representation,
        _REPRESENTATION,
    ),
]
