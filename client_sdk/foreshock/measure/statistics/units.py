"""Activations after a nonlinearity in; how many units hardly move or never fire, and how many entries are zero, over a window
of samples, out.

Shape suffixes: S sampled rows, W units, P parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

DORMANT = (0.025, 0.1)  # a unit's mean |h| over its layer's
YIELDS = (
    "dormant_unit_share",
    "dormant_unit_share",
    "dead_unit_share",
    "zero_activation_share",
    "unit_samples",
)


def activity(x_SW: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and largest |h| of each unit over the finite rows, and in how many it is 0, [3, W]; and how many rows those are, of
    how many, [2]."""
    if len(x_SW) == 0:
        return x_SW.new_zeros(3, x_SW.shape[1], dtype=torch.float32), x_SW.new_zeros(2, dtype=torch.float32)
    x_SW = x_SW.float()
    size_S = torch.linalg.vector_norm(x_SW, 1, dim=1)
    good_S = ((size_S - size_S) == 0).float()
    size_SW = torch.nan_to_num(x_SW, 0.0, 0.0, 0.0).abs_().mul_(good_S.unsqueeze(1))
    rows = torch.stack([good_S.sum(), torch.ones_like(good_S).sum()])
    total_W, peak_W = size_SW.sum(0), size_SW.amax(0)
    # By signs, as on a CPU comparing and counting takes ten times as long.
    zeros_W = rows.select(0, 0) - size_SW.sign_().sum(0)
    return torch.stack([total_W, peak_W, zeros_W]), rows


def joined(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The activity over several sets of rows."""
    each_P3W = torch.stack([activity_3W for activity_3W, _ in parts])
    total_3W = each_P3W.sum(0)
    peak_W = each_P3W.select(1, 1).amax(0)
    activity_3W = torch.stack([total_3W.select(0, 0), peak_W, total_3W.select(0, 2)])
    return activity_3W, torch.stack([rows for _, rows in parts]).sum(0)


def shares(activity_3W: Tensor, rows_2: Tensor) -> Tensor:
    """The values of YIELDS: shares of dormant units at both levels, share of units that were zero throughout, share of
    entries that were zero, rows, [5].

    A layer of zeros is dormant and dead; NaN without finite rows, or when more than half of them are not finite.
    """
    total_W, peak_W, zeros_W = activity_3W.unbind(0)
    count, asked = rows_2.unbind(0)
    level = total_W.mean()
    found = torch.stack([total_W <= tau * level for tau in DORMANT] + [peak_W == 0]).float().mean(1)
    zeros = (zeros_W.mean() / count).unsqueeze(0)
    bad = (2.0 * count < asked) | (count == 0)
    return torch.cat([torch.cat([found, zeros]).masked_fill(bad, math.nan), count.unsqueeze(0)])
