"""Which rows count and what they average to: a mask is a weight here, never an index, so no shape depends on data.

Shape suffixes: N rows or tokens, K quantities, S sampled rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def mean(x_KN: Tensor, valid_N: Tensor) -> Tensor:
    """Mean over the valid entries of the last axis; NaN when there is none, and no other entry is looked at."""
    total_K = x_KN.masked_fill(valid_N.logical_not(), 0.0).sum(-1)
    return total_K / valid_N.sum()


def spread(x_N: Tensor, valid_N: Tensor) -> Tensor:
    """Mean and population standard deviation of the valid entries, stacked; NaN deviation with fewer than two."""
    count = valid_N.sum()
    x_N = x_N.masked_fill(valid_N.logical_not(), 0.0)
    centre = x_N.sum() / count
    deviation = ((x_N - centre).masked_fill(valid_N.logical_not(), 0.0).square().sum() / count).sqrt()
    return torch.stack([centre, deviation.masked_fill(count < 2, math.nan)])


def quantiles(x_N: Tensor, valid_N: Tensor, levels: Sequence[float]) -> Tensor:
    """Quantiles of the valid entries, linear between ranks; NaN when there is none."""
    if x_N.numel() == 0:
        return x_N.new_full((len(levels),), math.nan)
    ordered_N = x_N.masked_fill(valid_N.logical_not(), math.inf).sort().values
    last = (valid_N.sum() - 1).clamp_min(0)
    rank_K = torch.stack([last * level for level in levels])
    below_K = rank_K.floor()
    low_K = below_K.long()
    high_K = torch.minimum(low_K + 1, last)
    floor_K, ceiling_K = ordered_N.gather(0, low_K), ordered_N.gather(0, high_K)
    value_K = torch.lerp(floor_K, ceiling_K, (rank_K - below_K).to(floor_K.dtype))
    return value_K.masked_fill(valid_N.sum() == 0, math.nan)


def sample(valid_N: Tensor, uniform_N: Tensor, size: int) -> Tensor:
    """Positions of ``size`` rows drawn without replacement, valid ones first; the rest keep weight zero."""
    return torch.where(valid_N, uniform_N, -1.0).topk(size, sorted=False).indices


def unless_mostly_bad(values_K: Tensor, asked: Tensor, good: Tensor) -> Tensor:
    """The values, or NaN when more than half of the rows asked for were not finite."""
    return values_K.masked_fill(2 * good < asked, math.nan)
