"""Prepared rows and their class numbers in; how wide the classes are against the distances between them, out.

Shape suffixes: S rows, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .rows import Rows

YIELDS = ("class_variability",)


def variability(rows: Rows, label_S: Tensor) -> Tensor:
    """Trace of the within-class over the trace of the between-class covariance; NaN with fewer than two classes."""
    label_S, order_S = label_S.sort(stable=True)
    x_SD, good_S = rows.x.index_select(0, order_S), rows.good.index_select(0, order_S)
    starts_S = torch.cat([label_S.new_zeros(1, dtype=torch.bool), label_S.diff() != 0])
    class_S = starts_S.cumsum(0)  # 0, 1, 2, … in the order of the labels; at most as many as rows
    members_S = torch.zeros_like(good_S).index_add_(0, class_S, good_S)
    total_SD = torch.zeros_like(x_SD).index_add_(0, class_S, x_SD)
    mean_SD = total_SD / members_S.clamp_min(1.0).unsqueeze(1)
    within = ((x_SD - mean_SD.index_select(0, class_S)) * good_S.unsqueeze(1)).square().sum()
    between = (members_S * (mean_SD - rows.mean).square().sum(1)).sum()
    classes = (members_S > 0).sum()
    return (within / between).masked_fill((classes < 2).logical_or_(rows.bad), math.nan).unsqueeze(0)
