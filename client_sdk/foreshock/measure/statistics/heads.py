"""The numbers that a head of one output gives, in; their mean and their spread out.

Shape suffixes: N outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import masked

YIELDS = ("value_mean", "value_spread")


def values(output: Tensor) -> Tensor:
    """Mean and population standard deviation of the finite outputs, [2]."""
    output_N = output.reshape(1, -1).float()
    good_N = masked.finite(output_N).float()
    count = good_N.sum(1)
    both = masked.spread(output_N, good_N, count)
    asked = torch.full_like(count, output_N.shape[1])
    return masked.unless_mostly_bad(both, asked, count).reshape(-1)
