"""Prepared rows in; how far the embeddings have fallen together out.

Shape suffixes: N rows, S sampled rows, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import masked
from .rows import TINY, Rows

YIELDS = ("embedding_std", "mean_cosine", "mean_share", "n_eff")
ALIGNMENT = ("alignment",)
CHUNK = 1 << 24  # values counted in one go: bounds the copy that counting makes


def collapse(rows: Rows) -> Tensor:
    """Spread and mean cosine of the unit-length rows, share of the mean vector, number of rows used."""
    width = rows.x.shape[1]
    unit_SD = rows.x * rows.square.clamp_min(TINY).rsqrt().unsqueeze(1)
    sum_D = unit_SD.sum(0)
    centred_SD = unit_SD.sub_(sum_D / rows.count.clamp_min(1.0)).mul_(rows.good.unsqueeze(1))
    deviation_D = (centred_SD.square_().sum(0) / rows.count).sqrt()
    spread = deviation_D.mean() * math.sqrt(width)

    directed = (rows.good * (rows.square > 0)).sum()
    cosine = (sum_D.square().sum() - directed) / (directed * (directed - 1.0))

    energy = rows.square.sum()
    share = rows.count * rows.mean.square().sum() / energy.clamp_min(TINY)

    few = rows.count < 2
    values = torch.stack(
        [
            spread.masked_fill(few, math.nan),
            cosine.masked_fill(directed < 2, math.nan),
            share.masked_fill(few, math.nan),
        ]
    )
    values = masked.unless_mostly_bad(values, rows.asked, rows.count)
    return torch.cat([values, rows.count.unsqueeze(0)])


def alignment(a_ND: Tensor, b_ND: Tensor, weight_N: Tensor) -> Tensor:
    """Mean squared distance between the unit-length rows of two views of the same samples."""
    norms = [torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32) for x in (a_ND, b_ND)]
    unit = [x.float() / norm.clamp_min(TINY) for x, norm in zip((a_ND, b_ND), norms, strict=True)]
    distance_N = (unit[0] - unit[1]).square_().sum(1)
    good_N = weight_N * masked.finite(norms[0] + norms[1]).squeeze(1)
    count = good_N.sum()
    value = masked.mean(distance_N, good_N, count)
    return masked.unless_mostly_bad(value, weight_N.sum(), count).unsqueeze(0)


def nonfinite(x: Tensor) -> Tensor:
    """How many values of a tensor are NaN or infinite, as a float of shape [1]; a large tensor is read in parts."""
    if x.numel() <= CHUNK or max(x.shape) == 1:
        return (x - x).nan_to_num_(nan=1.0).sum(dtype=torch.float32).unsqueeze(0)  # x − x is 0 or NaN
    longest = max(range(x.dim()), key=lambda dim: x.shape[dim])
    size = x.shape[longest]
    step = max(1, size * CHUNK // x.numel())
    parts = [nonfinite(x.narrow(longest, start, min(step, size - start))) for start in range(0, size, step)]
    return torch.stack(parts).sum(0)
