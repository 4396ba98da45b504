"""What a normalisation layer is given and what it has learnt, in; how large the stream is, which gains and channels are off, out.

Shape suffixes: R rows, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import masked
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
    norm_R = torch.linalg.vector_norm(x, dim=axis, dtype=torch.float32).reshape(-1)
    square_R = norm_R / math.sqrt(max(1, x.shape[axis]))
    square_R = square_R.square_()
    good_R = masked.finite(square_R).float()
    count = good_R.sum()
    value = masked.mean(square_R, good_R, count).sqrt_()
    return masked.unless_mostly_bad(value, torch.full_like(count, square_R.numel()), count).unsqueeze(0)


def gains(gain: Tensor, offset: float = 0.0) -> Tensor:
    """Root mean square of |γ + offset|, and the share of gains at most SMALL of it, [2]."""
    size_D = (gain.reshape(-1).float() + offset).abs_()
    good_D = masked.finite(size_D).float()
    count = good_D.sum()
    rms = masked.mean(size_D.square(), good_D, count).sqrt()
    small = masked.mean((size_D <= SMALL * rms).float(), good_D, count)
    asked = torch.full_like(count, size_D.numel())
    return masked.unless_mostly_bad(torch.stack([rms, small]), asked, count)


def dead(variance: Tensor, eps: float) -> Tensor:
    """Share of channels whose running variance is at most ``eps``, [1]."""
    variance_D = variance.reshape(-1).float()
    good_D = masked.finite(variance_D).float()
    count = good_D.sum()
    value = masked.mean((variance_D <= eps).float(), good_D, count)
    return masked.unless_mostly_bad(value, torch.full_like(count, variance_D.numel()), count).unsqueeze(0)
