"""A matrix of embeddings in; its usable rows, scaled so that nothing overflows, out: the one read that the rest shares.

Shape suffixes: S rows, D width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from foreshock.measure.problems.gram import CONSTANT

__all__ = ["CONSTANT", "TINY", "Rows", "prepare"]

TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Rows:
    """Rows of one matrix divided by a power of two near their largest entry; rows that do not count are zero."""

    x: Tensor  # float32
    centred: Tensor  # x_i − mean, and zero where x_i does not count
    good: Tensor  # 1.0 where valid and finite, else 0.0: a factor, never an index
    count: Tensor  # how many those are, float32
    asked: Tensor  # how many were valid
    bad: Tensor  # fewer than half of the valid ones, or than two: there is nothing to be read
    mean: Tensor
    norms: Tensor  # ‖x_i‖ and ‖x_i − mean‖, [2, S]
    squares: Tensor  # of those
    energy: Tensor  # their sums, [2]
    nothing: Tensor  # where that sum is zero, or rounding
    largest: Tensor  # |x_ij|, of the input
    shrink: Tensor  # what the input was multiplied by
    native: Tensor | None  # the same in the input's half precision, where the device multiplies that exactly


def prepare(x_SD: Tensor, valid_S: Tensor) -> Rows:
    """Drop the rows that are not finite, scale the rest. What is measured from it is free of the scale, bar where ``shrink`` is used."""
    given_SD, x_SD = x_SD, x_SD.float()  # half precision is slow to search
    peak_S = torch.maximum(x_SD.amax(1), x_SD.amin(1).neg_())  # NaN and infinity pass through
    good_S = (peak_S < math.inf).logical_and_(valid_S).float()
    largest = (peak_S.nan_to_num_(0.0, 0.0, 0.0) * good_S).amax()
    bounded = largest.clamp(TINY, 1.0 / TINY)
    shrink = torch.frexp(bounded).mantissa / bounded  # a power of two changes no digit
    half = x_SD.is_cuda and given_SD.dtype in (torch.bfloat16, torch.float16)
    scale_S1 = (good_S * shrink).unsqueeze(1)
    x_SD = x_SD * scale_S1 if x_SD is given_SD else x_SD.mul_(scale_S1)
    x_SD.nan_to_num_(0.0, 0.0, 0.0)  # zero times NaN is NaN
    count, asked = torch.stack([good_S, valid_S.float()]).sum(1).unbind()
    mean_D = x_SD.sum(0) / count.clamp_min(1.0)
    centred_SD = torch.addr(x_SD, good_S, mean_D, alpha=-1)
    norms_2S = torch.stack([torch.linalg.vector_norm(one, dim=1) for one in (x_SD, centred_SD)])
    squares_2S = norms_2S.square()
    energy_2 = squares_2S.sum(1)
    # Centred rows of which so little is left are rounding: zero times, and once, the smallest share that is not.
    nothing_2 = energy_2 <= torch.arange(2, device=energy_2.device) * (CONSTANT * energy_2.select(0, 0))
    return Rows(
        x=x_SD,
        centred=centred_SD,
        good=good_S,
        count=count,
        asked=asked,
        bad=count < (0.5 * asked).clamp_min(2.0),
        mean=mean_D,
        norms=norms_2S,
        squares=squares_2S,
        energy=energy_2,
        nothing=nothing_2,
        largest=largest,
        shrink=shrink,
        native=x_SD.to(given_SD.dtype) if half else None,
    )
