"""A weight matrix in; its Gram matrix, as a problem for the host, out.

Shape suffixes: R rows, C columns, M the smaller of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from foreshock.measure.problems.weights import Weights
from foreshock.series import SeriesSpec

from .part import Part
from .rows import TINY

LARGEST = 4096  # side of a Gram matrix that is sent
CHUNK = 1 << 24  # values made float32 at a time


def gram(weight_RC: Tensor) -> Tensor:
    """Wᵀ W or W Wᵀ, whichever is smaller, of the weight scaled to mean square one, [M · M]."""
    scale = (
        torch.linalg.vector_norm(weight_RC, dtype=torch.float32).clamp_min(TINY) / weight_RC.numel() ** 0.5
    )
    tall = weight_RC if weight_RC.shape[0] >= weight_RC.shape[1] else weight_RC.t()
    side = tall.shape[1]
    total_MM = torch.zeros(side, side, device=weight_RC.device)
    for part in tall.chunk(-(-tall.numel() // CHUNK)):
        scaled = part.float() / scale
        total_MM = torch.addmm(total_MM, scaled.t(), scaled)
    return total_MM.reshape(-1)


def to_finish(weight_RC: Tensor, name: str, series: Callable[[], Sequence[SeriesSpec]]) -> Part | None:
    """The problem, or None for a matrix too large to be sent."""
    rows, width = weight_RC.shape
    if min(rows, width) > LARGEST:
        return None
    return Part(name, Weights(rows, width), lambda: gram(weight_RC), series)
