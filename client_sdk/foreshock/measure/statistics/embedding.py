"""Prepared rows in; how far the embeddings have fallen together out.

Shape suffixes: N rows, S sampled rows, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .rows import TINY, Rows

YIELDS = (
    "embedding_std",
    "mean_cosine",
    "mean_cosine_centered",
    "mean_share",
    "rank_one_residual",
    "n_eff",
)
CHUNK = 1 << 24  # values counted in one go: bounds the copy that counting makes


def collapse(rows: Rows) -> Tensor:
    """Spread and mean cosines of the unit-length rows, share of the mean vector and what it leaves, number of rows used."""
    n, width = rows.count, rows.x.shape[1]
    inverse_2S = rows.norms.clamp_min(TINY).reciprocal_()
    unit_SD = rows.x * inverse_2S.select(0, 0).unsqueeze(1)
    sums_2D = torch.stack([unit_SD.sum(0), inverse_2S.select(0, 1) @ rows.centred])
    deviations_SD = unit_SD.addr_(rows.good, sums_2D.select(0, 0) / n.clamp_min(1.0), alpha=-1)
    spread = deviations_SD.square_().sum(0).sqrt_().sum() * (n * width).rsqrt()

    directed_2 = (rows.squares > 0).sum(1)
    pairs_2 = directed_2 * (directed_2 - 1)
    cosine_2 = (sums_2D.square().sum(1) - directed_2) / pairs_2
    cosine_2 = cosine_2.masked_fill_((pairs_2 <= 0).logical_or_(rows.nothing), math.nan)

    of_mean = n * rows.mean.dot(rows.mean)
    share_2 = torch.stack([of_mean, rows.energy.select(0, 1)]) / rows.energy.select(0, 0).clamp_min(TINY)
    values = torch.stack([spread, *cosine_2.unbind(), share_2.select(0, 0), share_2.select(0, 1).sqrt()])
    return torch.cat([values.masked_fill_(rows.bad, math.nan), n.unsqueeze(0)])


def nonfinite(x: Tensor) -> Tensor:
    """How many values of a tensor are NaN or infinite, as a float of shape [1]; a large tensor is read in parts."""
    if x.numel() <= CHUNK or max(x.shape) == 1:
        return (x - x).nan_to_num_(nan=1.0).sum(dtype=torch.float32).unsqueeze(0)  # x − x is 0 or NaN
    longest = max(range(x.dim()), key=lambda dim: x.shape[dim])
    size = x.shape[longest]
    step = max(1, size * CHUNK // x.numel())
    parts = [nonfinite(x.narrow(longest, start, min(step, size - start))) for start in range(0, size, step)]
    return torch.stack(parts).sum(0)
