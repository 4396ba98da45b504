"""The numbers that a head of one output gives, in; their mean and their spread out.

Shape suffixes: N outputs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

YIELDS = ("value_mean", "value_spread")


def values(output: Tensor) -> Tensor:
    """Mean and population standard deviation of the finite outputs, [2]."""
    output_N = output.reshape(-1).float()
    good_N = (output_N.abs() < math.inf).float()
    count = good_N.sum()
    kept_N = torch.nan_to_num(output_N, 0.0, 0.0, 0.0)
    mean = kept_N.sum() / count
    spread = torch.linalg.vector_norm((kept_N - mean).mul_(good_N)) * count.rsqrt()
    both = torch.stack([mean, spread.masked_fill(count < 2, math.nan)])
    return both.masked_fill_(count < output_N.numel() / 2, math.nan)
