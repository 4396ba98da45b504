"""What one device function is, and the random inputs that several share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from foreshock.series import SeriesSpec


@dataclass(frozen=True)
class DeviceFunction:
    """A statistic's computation, tensors in and tensors out, and the series that it yields."""

    name: str
    inputs: Callable[[], dict[str, Tensor]]
    run: Callable[[dict[str, Tensor]], Sequence[Tensor]]
    series: Sequence[SeriesSpec]


def generator() -> torch.Generator:
    """The same random numbers each time."""
    return torch.Generator().manual_seed(0)


def matrix(rows: int, width: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    g = generator()
    return {
        "x": torch.randn(rows, width, generator=g).to(dtype),
        "valid": torch.rand(rows, generator=g) > 0.1,
        "uniform": torch.rand(rows, generator=g),
        "labels": torch.randint(0, 5, (rows,), generator=g),
    }
