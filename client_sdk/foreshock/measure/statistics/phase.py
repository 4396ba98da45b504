"""Hidden states with their graph in; their matrix-based entropy, to be differentiated, out. And its gradients and that of the loss in;
whether what lowers the loss lowers the entropy out.

Shape suffixes: N rows, S sampled rows, D width, M the smaller of the two; G places, C sampled coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import masked, sketch
from .rows import TINY
from .table import STATISTICS

ROWS = 2048  # of a layer, evenly spaced


def series(layers: Sequence[str]) -> list[SeriesSpec]:
    """What `measure` yields, in order."""
    return [STATISTICS["matrix_entropy_loss_cosine"].series(layer) for layer in layers]


def entropy(x_ND: Tensor, valid_N: Tensor | None = None) -> Tensor:
    """S₂ = −ln Σ q², q = λ_i/Σλ, λ_i the eigenvalues of X Xᵀ over the rows that are valid and finite: nats, a number with a graph;
    NaN with fewer than two such rows.

    Of order two, so that it is made of products alone: order one needs eigenvalues, for which the device would have to wait.
    """
    rows = x_ND.shape[0]
    if rows > ROWS:
        chosen_S = torch.arange(ROWS, device=x_ND.device).mul(rows / ROWS).long()
        x_ND = x_ND.index_select(0, chosen_S)
        valid_N = None if valid_N is None else valid_N.index_select(0, chosen_S)
    x_SD = x_ND.float()
    with torch.no_grad():
        good_S = masked.finite(x_SD).all(1)
        good_S = good_S if valid_N is None else good_S.logical_and(valid_N)
        dropped_S1 = good_S.logical_not().unsqueeze(1)
        largest = x_SD.masked_fill(dropped_S1, 0.0).abs().amax().clamp_min(TINY)
    x_SD = x_SD.masked_fill(dropped_S1, 0.0) / largest
    matrix_MM = x_SD @ x_SD.t() if x_SD.shape[0] < x_SD.shape[1] else x_SD.t() @ x_SD
    energy = x_SD.square().sum().clamp_min(TINY)
    value = 2.0 * energy.log() - matrix_MM.square().sum().clamp_min(TINY).log()
    nothing = torch.zeros_like(largest).masked_fill(good_S.sum() < 2, math.nan)
    return value + value * nothing  # so that its gradient is NaN too


def measure(gradients: Sequence[Tensor], by: sketch.Weighing) -> Tensor:
    """Of the [G, C] gradients of some entropies, which follow that of the loss: the cosine of each with it, of all places together.

    0 where one of the two is zero.
    """
    loss_GC, *entropies = (sketch.scaled(gradient_GC) for gradient_GC in gradients)
    cosines = [sketch.cosines(loss_GC, one_GC, by) for one_GC in entropies]
    return torch.stack([cosine.select(0, len(cosine) - 1) for cosine in cosines])
