"""Rewards and group numbers in; share of groups whose members all got the same reward out. No loop, no unique, no scatter.

Shape suffixes: N sequences, G groups, M members of one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import masked

TINY = torch.finfo(torch.float32).smallest_normal  # the least reward above zero
YIELDS = ("zero_variance_groups", "zero_variance_all_high", "zero_variance_all_low")


def zero_variance(reward_N: Tensor, group: Tensor | int) -> Tensor:
    """Shares of groups of two or more with max r = min r: all of them, those high, those low.

    ``group`` numbers the group of each reward, by any integers, or is the size of groups that follow one another.

    Equality is exact: the float32 deviation of identical rewards 0.1 is not zero. A group's common reward is *high*
    when it lies in the upper half of the batch's range, bounds included; if all rewards of the batch are equal, when
    it is above zero. A group with a reward that is not finite is not counted, nor is a group of one, which has no
    variance to lose.
    """
    if reward_N.numel() == 0:
        return reward_N.new_full((len(YIELDS),), math.nan, dtype=torch.float32)
    reward_N = reward_N.float()
    if isinstance(group, int):
        first_G, counted_G, constant_G = _even(reward_N, group)
    else:
        first_G, counted_G, constant_G = _numbered(reward_N, group)
    wrong_N = masked.finite(reward_N).logical_not()
    largest = reward_N.masked_fill(wrong_N, -torch.inf).amax()
    smallest = reward_N.masked_fill(wrong_N, torch.inf).amin()
    middle = (0.5 * smallest + 0.5 * largest).masked_fill(largest == smallest, TINY)
    high_G = first_G >= middle
    rows_3G = torch.stack([constant_G, constant_G & high_G, constant_G > high_G]).float()
    shares = masked.mean(rows_3G, counted_G, counted_G.sum())
    return shares.masked_fill(2 * wrong_N.sum() > len(reward_N), math.nan)


def _even(reward_N: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each group: a reward, 1.0 if it counts, whether its rewards are equal."""
    reward_GM = reward_N.view(-1, size)
    largest_G, smallest_G = reward_GM.amax(1), reward_GM.amin(1)
    counted_G = masked.finite(largest_G - smallest_G).float()
    return largest_G, counted_G if size > 1 else torch.zeros_like(counted_G), largest_G == smallest_G


def _numbered(reward_N: Tensor, group_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same with one entry per reward, of which the first of each group stands for it and the others do not count."""
    group_N, order_N = group_N.sort(stable=True)
    reward_N = reward_N.gather(0, order_N)
    first_N = torch.searchsorted(group_N, group_N)
    beyond_N = torch.searchsorted(group_N, group_N, right=True)
    # How many members of one's own group are not finite, and how many differ from its first: sums up to its end less
    # sums up to its beginning.
    wrong_N = masked.finite(reward_N).logical_not()
    flags_2N = torch.stack([wrong_N, reward_N != reward_N.gather(0, first_N)])
    sums = torch.cat([flags_2N.new_zeros((2, 1), dtype=torch.int64), flags_2N.cumsum(1)], 1)
    none_2N = sums.index_select(1, beyond_N) == sums.index_select(1, first_N)
    sound_N, constant_N = none_2N.unbind(0)
    leads_N = first_N == torch.arange(len(first_N), device=first_N.device)
    return reward_N, (leads_N & (beyond_N - first_N >= 2) & sound_N).float(), constant_N
