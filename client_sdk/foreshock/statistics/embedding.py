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


def collapse(rows: Rows) -> Tensor:
    """Spread and mean cosine of the unit-length rows, share of the mean vector, number of rows used."""
    width = rows.x.shape[1]
    unit_SD = rows.x * rows.square.clamp_min(TINY).rsqrt().unsqueeze(1)
    sum_D = unit_SD.sum(0)
    centred_SD = (unit_SD - sum_D / rows.count.clamp_min(1.0)) * rows.good.unsqueeze(1)
    deviation_D = (centred_SD.square().sum(0) / rows.count).sqrt()
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


def alignment(a_ND: Tensor, b_ND: Tensor, valid_N: Tensor) -> Tensor:
    """Mean squared distance between the unit-length rows of two views of the same samples."""
    norm_N = (
        torch.linalg.vector_norm(a_ND, dim=1, dtype=torch.float32),
        torch.linalg.vector_norm(b_ND, dim=1, dtype=torch.float32),
    )
    good_N = valid_N & norm_N[0].isfinite() & norm_N[1].isfinite()
    unit = [
        x.float() / norm.clamp_min(TINY).unsqueeze(1) for x, norm in zip((a_ND, b_ND), norm_N, strict=True)
    ]
    distance_N = (unit[0] - unit[1]).square().sum(1)
    return masked.unless_mostly_bad(masked.mean(distance_N, good_N), valid_N.sum(), good_N.sum()).unsqueeze(0)


def nonfinite(x: Tensor) -> Tensor:
    """How many values of a tensor are NaN or infinite, as a float of shape [1]."""
    return torch.nan_to_num(x - x, nan=1.0).sum(dtype=torch.float32).unsqueeze(0)  # x − x is 0 or NaN
