"""Two prepared views of the same samples, and a predictor, in; how they agree, dimension by dimension, out.

Shape suffixes: S samples, D width, E outputs of the predictor.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .rows import CONSTANT, TINY, Rows

YIELDS = ("alignment", "invariance", "cross_redundancy")
WITH_PREDICTOR = ("eigenspace_alignment",)


def alignment(a: Rows, b: Rows) -> Tensor:
    """Mean squared distance between the unit-length rows of two views, [1]; NaN without samples that count in both."""
    both_S = a.good * b.good
    a_SD, b_SD = (rows.x / rows.norms.select(0, 0).clamp_min(TINY).unsqueeze(1) for rows in (a, b))
    distance_S = torch.linalg.vector_norm(a_SD - b_SD, dim=1).square()
    useless = 2.0 * both_S.sum() < torch.maximum(a.asked, b.asked)
    return (both_S.dot(distance_S) / both_S.sum()).masked_fill(useless, math.nan).unsqueeze(0)


def correlations(a: Rows, b: Rows) -> Tensor:
    """Mean (1 − C_jj)² and mean C_jk², j ≠ k, of the correlations between the dimensions of two views; NaN when one is constant.

    Samples that do not count in one view count in neither.
    """
    both_S = a.good * b.good
    n = both_S.sum()
    z_SD, y_SD = (_standard(rows, both_S, n) for rows in (a, b))
    samples, width = z_SD.shape
    same_D = (z_SD * y_SD).sum(0)
    if samples < width:
        total = ((z_SD @ z_SD.t()) * (y_SD @ y_SD.t())).sum()
    else:
        total = torch.linalg.vector_norm(z_SD.t() @ y_SD).square()
    alive = (z_SD.square().sum(0) * y_SD.square().sum(0) > 0).sum()
    on = ((1.0 - same_D).square().sum() - (width - alive)) / alive
    off = (total - same_D.square().sum()) / (alive * (alive - 1.0))
    values = torch.stack([on, off.masked_fill(alive < 2, math.nan)])
    useless = (
        a.bad.logical_or(b.bad)
        .logical_or(a.nothing.select(0, 1))
        .logical_or(b.nothing.select(0, 1))
        .logical_or(n < 2)
    )
    return values.masked_fill_(useless, math.nan)


def eigenspaces(rows: Rows, weight_ED: Tensor) -> Tensor:
    """Cosine between F W and W F, F the correlation matrix of the predictor's input: 1 where both share their eigenvectors, [1].

    ``weight_ED`` is square.
    """
    scale = 1.0 / rows.energy.select(0, 0).clamp_min(TINY)
    moment_DD = rows.x.t() @ rows.x * scale
    weight_DD = weight_ED.float()
    weight_DD = weight_DD / torch.linalg.vector_norm(weight_DD).clamp_min(TINY)
    left_DD, right_DD = moment_DD @ weight_DD, weight_DD @ moment_DD
    sizes = torch.linalg.vector_norm(left_DD) * torch.linalg.vector_norm(right_DD)
    value: Tensor = (left_DD * right_DD).sum() / sizes
    return value.masked_fill(rows.bad.logical_or(sizes <= 0), math.nan).unsqueeze(0)


def _standard(rows: Rows, both_S: Tensor, n: Tensor) -> Tensor:
    """Each dimension with mean zero and sum of squares one; constant ones zero."""
    mean_D = (both_S @ rows.centred) / n.clamp_min(1.0)
    x_SD = torch.addr(rows.centred * both_S.unsqueeze(1), both_S, mean_D, alpha=-1)
    energy_D = x_SD.square().sum(0)
    alive_D = energy_D > energy_D.sum() * (CONSTANT / len(energy_D))
    scaled_SD: Tensor = x_SD * (energy_D.clamp_min(TINY).rsqrt() * alive_D)
    return scaled_SD
