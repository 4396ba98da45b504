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


def chosen(logits_NV: Tensor, actions_N: Tensor) -> Tensor:
    """The logit of the token taken, ln π once its token's log-sum-exp is taken off; NaN outside the vocabulary."""
    known_N = (actions_N >= 0) & (actions_N < logits_NV.shape[1])
    index_N1 = actions_N.masked_fill(known_N.logical_not(), 0).long().unsqueeze(1)
    return logits_NV.gather(1, index_N1).squeeze(1).float().masked_fill(known_N.logical_not(), math.nan)


def covariance(logp_N: Tensor, advantage_N: Tensor, valid_N: Tensor) -> Tensor:
    """Mean of (ln π − mean)(A − mean) over tokens, and the shares of tokens where that product exceeds 1 and 5.

    Positive: the update raises what is already likely, so entropy falls (ΔH ≈ −η Cov).
    """
    good_N = valid_N & logp_N.isfinite() & advantage_N.isfinite()
    pair_KN = torch.stack([logp_N, advantage_N])
    centred_KN = pair_KN - masked.mean(pair_KN, good_N).unsqueeze(1)
    product_N = centred_KN.prod(0)
    rows_KN = torch.stack(
        [product_N, (product_N > 1.0).to(product_N.dtype), (product_N > 5.0).to(product_N.dtype)]
    )
    return masked.unless_mostly_bad(masked.mean(rows_KN, good_N), valid_N.sum(), good_N.sum())


def divergence(logp_N: Tensor, other_N: Tensor, valid_N: Tensor) -> Tensor:
    """k1, k2, k3 of KL(π ‖ other) from tokens sampled under π, with k1 = ln π − ln other clamped to ±20.

    The sign is that of π: k1 is positive on average when the policy has moved away from ``other``.
    """
    k1_N = (logp_N - other_N).clamp(-CLAMP, CLAMP)
    good_N = valid_N & k1_N.isnan().logical_not()
    rows_KN = torch.stack([k1_N, 0.5 * k1_N * k1_N, torch.expm1(-k1_N) + k1_N])
    return masked.unless_mostly_bad(masked.mean(rows_KN, good_N), valid_N.sum(), good_N.sum())


def spread(x_N: Tensor, valid_N: Tensor) -> Tensor:
    """Mean and population standard deviation over the valid, finite entries."""
    good_N = valid_N & x_N.isfinite()
    return masked.unless_mostly_bad(masked.spread(x_N, good_N), valid_N.sum(), good_N.sum())


def bad(x_N: Tensor, valid_N: Tensor) -> Tensor:
    """How many valid entries are NaN or infinite, as a float of shape [1]."""
    return (valid_N & x_N.isfinite().logical_not()).sum().to(torch.float32).unsqueeze(0)
