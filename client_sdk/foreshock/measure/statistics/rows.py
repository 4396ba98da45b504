"""A matrix of embeddings in; its usable rows, scaled so that nothing overflows, out: the one read that the rest shares.

Shape suffixes: S rows, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Rows:
    """Rows of one matrix divided by a power of two near their largest entry; rows that do not count are zero."""

    x: Tensor  # float32
    good: Tensor  # 1.0 where valid and finite, else 0.0: a factor, never an index
    count: Tensor  # how many those are, float32
    asked: Tensor  # how many were valid
    mean: Tensor
    square: Tensor  # ‖x_i‖²
    native: Tensor | None  # the same in the input's half precision, where the device multiplies that exactly


def prepare(x_SD: Tensor, valid_S: Tensor) -> Rows:
    """Drop the rows that are not finite, scale the rest. Everything measured from it is free of the scale."""
    peak_S = torch.maximum(x_SD.amax(1), -x_SD.amin(1)).float()  # NaN and infinity pass through
    usable_S = valid_S & peak_S.isfinite()
    largest = peak_S.masked_fill(usable_S.logical_not(), 0.0).amax().clamp(TINY, 1.0 / TINY)
    shrink = torch.exp2(-largest.log2().floor())  # a power of two changes no mantissa
    good_S = usable_S.to(torch.float32)
    half = x_SD.dtype if x_SD.is_cuda and x_SD.dtype in (torch.bfloat16, torch.float16) else None
    kept_SD = torch.nan_to_num(x_SD, 0.0, 0.0, 0.0)  # a copy in which zero times anything is zero
    x_SD = kept_SD.float().mul_((good_S * shrink).unsqueeze(1))
    count = good_S.sum()
    return Rows(
        x=x_SD,
        good=good_S,
        count=count,
        asked=valid_S.sum(),
        mean=x_SD.sum(0) / count.clamp_min(1.0),
        square=torch.linalg.vector_norm(x_SD, dim=1).square(),
        native=x_SD.to(half) if half is not None else None,
    )
