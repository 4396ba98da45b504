"""Which rows count and what they average to: a mask is a weight of 0 or 1, never an index, so no shape depends on data.

Shape suffixes: N rows or tokens, K quantities, S sampled rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def finite(x: Tensor) -> Tensor:
    """Where a tensor is neither NaN nor infinite."""
    return (x - x) == 0  # half the operators of isfinite


def mean(x_KN: Tensor, weight_N: Tensor, count: Tensor) -> Tensor:
    """Mean of the last axis over the entries of weight one, ``count`` of them; NaN when there is none.

    Entries of weight zero may hold anything; those of weight one are finite.
    """
    return (torch.nan_to_num(x_KN, 0.0, 0.0, 0.0) * weight_N).sum(-1) / count


def spread(x_KN: Tensor, weight_KN: Tensor, count_K: Tensor) -> Tensor:
    """Means and population standard deviations of rows over entries of weight one, [2, K]; NaN deviation with fewer than two."""
    x_KN = torch.nan_to_num(x_KN, 0.0, 0.0, 0.0)
    centre_K = (x_KN * weight_KN).sum(1) / count_K
    square_KN = (x_KN - centre_K.unsqueeze(1)).square_().mul_(weight_KN)
    deviation_K = (square_KN.sum(1) / count_K).sqrt_()
    return torch.stack([centre_K, deviation_K.masked_fill_(count_K < 2, math.nan)])


def quantiles(x_N: Tensor, weight_N: Tensor, count: Tensor, levels_K: Tensor) -> Tensor:
    """Quantiles of the entries of weight one, linear between ranks; NaN when there is none."""
    if x_N.numel() == 0:
        return torch.full_like(levels_K, math.nan)
    ordered_N = x_N.masked_fill(weight_N == 0, math.nan).sort().values
    rank_K = levels_K * (count - 1)
    return between(ordered_N.take(neighbours(rank_K)), rank_K)


def neighbours(rank_K: Tensor) -> Tensor:
    """The whole ranks around each, [2, K]; both are 0 for those between -1 and 0, which is where quantiles of nothing lie."""
    return torch.stack([rank_K, rank_K.ceil()]).long()


def between(ends_2K: Tensor, rank_K: Tensor) -> Tensor:
    """The values at ranks, linear between those at the whole ranks around them."""
    return torch.lerp(ends_2K.select(0, 0), ends_2K.select(0, 1), rank_K.frac())


def sample(weight_N: Tensor, uniform_N: Tensor, size: int) -> Tensor:
    """Positions of ``size`` rows drawn without replacement, those of weight one first; the others keep weight zero."""
    return uniform_N.masked_fill(weight_N <= 0, -1.0).topk(size, sorted=False).indices


def unless_mostly_bad(values_K: Tensor, asked: Tensor, good: Tensor) -> Tensor:
    """The values, or NaN when more than half of the rows asked for were not finite."""
    return values_K.masked_fill(2 * good < asked, math.nan)
