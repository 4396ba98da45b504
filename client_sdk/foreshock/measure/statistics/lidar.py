"""Several views of each sample in; the matrix whose eigenvalues say how many directions tell samples from views out.

Shape suffixes: C samples, Q views of each, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foreshock.measure.problems.lidar import Lidar

from .picking import count as rows_of
from .rows import CONSTANT, TINY, prepare

SAMPLES = 1024  # at most, evenly spaced
COLUMNS = 1024  # at most, evenly spaced
DELTA = 1e-4  # added to the covariance within, of embeddings less their mean and scaled to unit mean square: Thilak et al. 2024


def lidar(x: Tensor, valid_N: Tensor, views: int) -> tuple[Tensor, Lidar]:
    """The payload and its problem. ``x`` [C·Q, D], or [C, Q, D]: row by row the views of one sample.

    A sample counts when all of its views do.
    """
    x_ND = x.reshape(rows_of(x), x.shape[-1])
    samples = len(x_ND) // views
    x_CQD, valid_CQ = x_ND.reshape(samples, views, -1), valid_N.reshape(samples, views)
    if samples > SAMPLES:
        kept_C = torch.arange(SAMPLES, device=x.device).mul(samples / SAMPLES).long()
        x_CQD, valid_CQ = x_CQD.index_select(0, kept_C), valid_CQ.index_select(0, kept_C)
    if x_CQD.shape[2] > COLUMNS:
        kept_D = torch.arange(COLUMNS, device=x.device).mul(x_CQD.shape[2] / COLUMNS).long()
        x_CQD = x_CQD.index_select(2, kept_D)
    samples, _, width = x_CQD.shape
    rows = prepare(x_CQD.reshape(samples * views, width), valid_CQ.reshape(-1))
    whole_C = rows.good.reshape(samples, views).amin(1)
    count = whole_C.sum()
    # Not the rows' own mean, which counts samples that lack a view.
    x_CQD = rows.x.reshape(samples, views, width)
    mean_D = (x_CQD.sum(1) * whole_C.unsqueeze(1)).sum(0) / (count * views).clamp_min(1.0)
    y_CQD = (x_CQD - mean_D) * whole_C.reshape(-1, 1, 1)
    energy = torch.linalg.vector_norm(y_CQD).square()
    energy = energy.masked_fill(energy <= CONSTANT * rows.energy.select(0, 0), 0.0)
    y_CQD = y_CQD * (count * views * width / energy.clamp_min(TINY)).sqrt()
    mean_CD = y_CQD.mean(1)
    within_ND = (y_CQD - mean_CD.unsqueeze(1)).reshape(-1, width)
    covariance_DD = within_ND.t() @ within_ND / (count * (views - 1.0)).clamp_min(1.0)
    covariance_DD = covariance_DD + DELTA * torch.eye(width, device=x.device)
    root_DD, _ = torch.linalg.cholesky_ex(covariance_DD, check_errors=False)
    whitened_DC = torch.linalg.solve_triangular(root_DD, mean_CD.t(), upper=False)
    problem = Lidar(samples, width)
    left, right = (whitened_DC.t(), whitened_DC) if samples <= width else (whitened_DC, whitened_DC.t())
    matrix = left @ right / (count - 1.0).clamp_min(1.0)
    usable = count.masked_fill(rows.bad.logical_or(2.0 * views * count < rows.count), math.nan)
    return torch.cat([matrix.reshape(-1), torch.stack([usable, energy])]), problem
