"""Rewards and group numbers in; share of groups whose members all got the same reward out. No loop, no unique, no scatter.

Shape suffix: N sequences.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import masked

YIELDS = ("zero_variance_groups", "zero_variance_all_high", "zero_variance_all_low")


def zero_variance(reward_N: Tensor, group_N: Tensor) -> Tensor:
    """Shares of groups of two or more with max r = min r: all of them, those high, those low.

    Equality is exact: the float32 deviation of identical rewards 0.1 is not zero. A group's common reward is *high*
    when it lies in the upper half of the batch's range, bounds included; if all rewards of the batch are equal, when
    it is above zero. A group with a reward that is not finite is not counted, nor is a group of one, which has no
    variance to lose.
    """
    if reward_N.numel() == 0:
        return reward_N.new_full((len(YIELDS),), math.nan, dtype=torch.float32)
    group_N, order_N = group_N.sort(stable=True)
    reward_N = reward_N.float().gather(0, order_N)
    finite_N = reward_N.isfinite()
    first_N = torch.searchsorted(group_N, group_N)
    beyond_N = torch.searchsorted(group_N, group_N, right=True)

    def within(flag_N: Tensor) -> Tensor:  # how many members of one's own group carry the flag
        running = torch.cat([flag_N.new_zeros(1, dtype=torch.int64), flag_N.cumsum(0)])
        return running.gather(0, beyond_N) - running.gather(0, first_N)

    leads_N = first_N == torch.arange(len(first_N), device=first_N.device)
    counted_N = leads_N & (beyond_N - first_N >= 2) & (within(finite_N.logical_not()) == 0)
    constant_N = within(reward_N != reward_N.gather(0, first_N)) == 0

    safe_N = reward_N.masked_fill(finite_N.logical_not(), 0.0)
    largest = reward_N.masked_fill(finite_N.logical_not(), -torch.inf).amax()
    smallest = reward_N.masked_fill(finite_N.logical_not(), torch.inf).amin()
    high_N = torch.where(largest == smallest, safe_N > 0, safe_N >= 0.5 * smallest + 0.5 * largest)
    rows_KN = torch.stack([constant_N, constant_N & high_N, constant_N & high_N.logical_not()]).float()
    asked = torch.ones_like(finite_N).sum()
    return masked.unless_mostly_bad(masked.mean(rows_KN, counted_N), asked, finite_N.sum())
