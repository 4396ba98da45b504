"""Token entropies in; what their mean hides out: how they lie over sequences, and how many tokens are still forks.

Shape suffixes: N tokens, B sequences.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

RECORDS = 10  # that the threshold of forks is averaged over, and then kept
FORKS = ("policy_fork_share", "policy_fork_entropy", "policy_fork_threshold")


def per_sequence(entropy_N: Tensor, good_N: Tensor, sequence_N: Tensor, sequences: int) -> Tensor:
    """Mean over sequences of each one's mean over its tokens of weight one, [1]; sequences without any are left out.

    ``sequence_N`` numbers the sequence of each token from 0. Long answers weigh as much as short ones here.
    """
    both_2N = torch.stack([torch.nan_to_num(entropy_N, 0.0, 0.0, 0.0) * good_N, good_N])
    sums_2B = both_2N.new_zeros((2, sequences)).index_add_(1, sequence_N, both_2N)
    total_B, count_B = sums_2B.unbind(0)
    there_B = (count_B > 0).float()
    return ((total_B / count_B.clamp_min(1.0)).sum() / there_B.sum()).unsqueeze(0)


def forks(entropy_N: Tensor, good_N: Tensor, p80: Tensor, baseline_2: Tensor) -> Tensor:
    """Share of the tokens of weight one above the threshold, their mean entropy, and the threshold, [3]: FORKS.

    The threshold is the mean of the first RECORDS 80th percentiles, ``p80`` of each call; from then on it stays. So the
    share begins near 0.2. ``baseline_2`` holds how many there have been and their mean: zeros at first, changed here.
    """
    seen, threshold = baseline_2.unbind(0)
    usable = ((seen < RECORDS) & (p80 == p80)).float()
    share = usable / (seen + 1.0)
    threshold = threshold + share * (torch.nan_to_num(p80, 0.0) - threshold)
    torch.stack([seen + usable, threshold], out=baseline_2)
    above_N = (entropy_N > threshold) * good_N
    count = above_N.sum()
    mean = (torch.nan_to_num(entropy_N, 0.0, 0.0, 0.0) * above_N).sum() / count
    none = baseline_2.select(0, 0) == 0
    return torch.stack([count / good_N.sum(), mean, threshold]).masked_fill(none, math.nan)
