"""What a normalisation layer is given and what it has learnt, in; how large the stream is, which gains and channels are off, out.

Shape suffixes: R rows, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from .table import STATISTICS

STREAM = ("stream_rms",)
GAIN = ("gain_rms", "gain_small_share")
VARIANCE = ("variance_dead_share",)
SMALL = 0.1  # of the root mean square of the gains


def series(place: str, *, gained: bool, tracked: bool) -> list[SeriesSpec]:
    """What one layer's row holds, in order: ``gained`` when it has gains, ``tracked`` when it keeps running variances."""
    names = [*STREAM, *(GAIN if gained else ()), *(VARIANCE if tracked else ())]
    return [STATISTICS[name].series(place) for name in names]


def stream(x: Tensor, axis: int) -> Tensor:
    """Root mean square of the rows that are finite, [1]; a row lies along ``axis``. One read, whatever the type."""
    square_R: Tensor = torch.linalg.vector_norm(x, dim=axis, dtype=torch.float32).reshape(-1).square_()
    count = (square_R < math.inf).sum()
    mean = square_R.nan_to_num_(0.0, 0.0, 0.0).sum().div_(count)
    value: Tensor = mean.mul_(1.0 / max(1, x.shape[axis])).sqrt_()
    return value.masked_fill_(count < square_R.numel() / 2, math.nan).unsqueeze(0)


def gains(gain: Tensor, offset: float = 0.0) -> Tensor:
    """Root mean square of |γ + offset|, and the share of gains at most SMALL of it, [2]."""
    size_D = (gain.reshape(-1).float() + offset).abs_()
    all_of_them = size_D.numel()
    count = (size_D < math.inf).sum()
    size_D = size_D.nan_to_num_(0.0, 0.0, 0.0)
    rms = torch.linalg.vector_norm(size_D) / count.sqrt()
    small = (size_D <= SMALL * rms).sum() - (all_of_them - count)  # those that are not finite are zero here
    both = torch.stack([rms, small / count])
    return both.masked_fill_(count < all_of_them / 2, math.nan)


def dead(variance: Tensor, eps: float) -> Tensor:
    """Share of channels whose running variance is at most ``eps``, [1]."""
    variance_D = variance.reshape(-1)
    count = (variance_D < math.inf).sum()
    share = (variance_D <= eps).sum() / count
    return share.masked_fill_(count < variance_D.numel() / 2, math.nan).unsqueeze(0)
