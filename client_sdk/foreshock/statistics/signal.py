"""What the policy is told to become: log-probabilities, advantages and rewards in; covariance, divergences and spreads out.

Shape suffixes: N tokens, K quantities.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import masked

CLAMP = 20.0  # nats; beyond it exp() of a single token would be the whole mean

COVARIANCE = ("policy_cov", "policy_cov_above_1", "policy_cov_above_5")
KL_REF = ("kl_ref_k1", "kl_ref_k2", "kl_ref_k3")
KL_OLD = ("kl_old_k1", "kl_old_k3")
ADVANTAGE = ("advantage_std",)
REWARD = ("reward_mean", "reward_std")


def chosen(logits: Tensor, actions_N: Tensor) -> Tensor:
    """The logit of the token taken, ln π once its token's log-sum-exp is taken off; NaN outside the vocabulary.

    ``logits`` is [N, V], or [sequences, tokens, V] with N of both together.
    """
    known_N = (actions_N >= 0) & (actions_N < logits.shape[-1])
    index_N = actions_N.masked_fill(known_N.logical_not(), 0).long()
    picked_N = logits.gather(-1, index_N.view(logits.shape[:-1]).unsqueeze(-1)).reshape(-1)
    return picked_N.float().masked_fill_(known_N.logical_not(), math.nan)


def covariance(logp_N: Tensor, advantage_N: Tensor, weight_N: Tensor) -> Tensor:
    """Mean of (ln π − mean)(A − mean) over tokens, and the shares of tokens where that product exceeds 1 and 5.

    Positive: the update raises what is already likely, so entropy falls (ΔH ≈ −η Cov).
    """
    good_N = weight_N * masked.finite(logp_N + advantage_N)
    asked, count = weight_N.sum(), good_N.sum()
    pair_2N = torch.stack([logp_N, advantage_N])
    product_N = (pair_2N - masked.mean(pair_2N, good_N, count).unsqueeze(1)).prod(0)
    rows_3N = torch.stack([product_N, (product_N > 1.0).float(), (product_N > 5.0).float()])
    return masked.unless_mostly_bad(masked.mean(rows_3N, good_N, count), asked, count)


def divergence(logp_N: Tensor, other_N: Tensor, weight_N: Tensor) -> Tensor:
    """k1, k2, k3 of KL(π ‖ other) from tokens sampled under π, with k1 = ln π − ln other clamped to ±20.

    The sign is that of π: k1 is positive on average when the policy has moved away from ``other``.
    """
    k1_N = (logp_N - other_N).clamp_(-CLAMP, CLAMP)
    good_N = weight_N * (k1_N == k1_N)  # NaN is not itself
    asked, count = weight_N.sum(), good_N.sum()
    rows_3N = torch.stack([k1_N, 0.5 * k1_N * k1_N, torch.expm1(-k1_N) + k1_N])
    return masked.unless_mostly_bad(masked.mean(rows_3N, good_N, count), asked, count)


def spread(x_N: Tensor, weight_N: Tensor) -> Tensor:
    """Mean and population standard deviation over the finite entries of weight one."""
    good_N = weight_N * masked.finite(x_N)
    count = good_N.sum()
    return masked.unless_mostly_bad(masked.spread(x_N, good_N, count), weight_N.sum(), count)


def bad(x_KN: Tensor, weight_N: Tensor) -> Tensor:
    """How many entries of weight one are NaN or infinite, as a float of shape [1]."""
    return (weight_N * ((x_KN - x_KN) != 0)).sum().unsqueeze(0)  # NaN differs from everything
