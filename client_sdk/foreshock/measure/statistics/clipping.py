"""The gradient norms that the loop clipped since the last record in; what clipping did to them out.

Shape suffixes: T steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

YIELDS = (
    "gradient_norm_before_clipping",
    "gradient_norm_peak",
    "gradient_peak_ratio",
    "clipped_step_share",
)
DECAY = 0.999  # of the average norm, per step


def measure(norm_T: Tensor, history_2: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """The values of YIELDS, [4], and the history with these steps in it.

    Norms that are not finite are left out of all but the first value, NaN when there are no others. ``history_2`` holds the
    decaying sum of the norms before these and the sum of its weights; without a history the peak's ratio is 1.
    """
    good_T = ((norm_T - norm_T) == 0).float()
    kept_T = torch.nan_to_num(norm_T, 0.0, 0.0, 0.0)
    total, weight = history_2.unbind(0)
    peak = kept_T.amax()
    average = total / weight.masked_fill(weight == 0, 1.0)
    ratio = (peak / average).masked_fill(average == 0, 1.0)
    clipped = ((kept_T > limit) * good_T).sum() / good_T.sum()
    nothing = good_T.sum() == 0
    last = norm_T.narrow(0, len(norm_T) - 1, 1).squeeze(0)
    values = torch.stack([peak, ratio, clipped]).masked_fill(nothing, math.nan)

    power_T = (DECAY ** torch.ones_like(norm_T).cumsum(0)).flip(0) / DECAY
    gain_T = (1.0 - DECAY) * power_T
    kept = DECAY ** len(norm_T)
    history = torch.stack([total * kept + (gain_T * kept_T).sum(), weight * kept + (gain_T * good_T).sum()])
    return torch.cat([last.unsqueeze(0), values]), history
