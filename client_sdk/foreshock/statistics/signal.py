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


def log_probability(logits_NV: Tensor, rows_S: Tensor | None, lse_S: Tensor, actions_S: Tensor) -> Tensor:
    """ln π of the token taken at each of these rows (all rows when None); NaN for an action outside the vocabulary."""
    known_S = (actions_S >= 0) & (actions_S < logits_NV.shape[1])
    index_S = actions_S.masked_fill(~known_S, 0).long()
    chosen_S = logits_NV.gather(1, index_S[:, None])[:, 0] if rows_S is None else logits_NV[rows_S, index_S]
    return (chosen_S.float() - lse_S).masked_fill(~known_S, math.nan)


def covariance(logp_N: Tensor, advantage_N: Tensor, valid_N: Tensor) -> Tensor:
    """Mean of (ln π − mean)(A − mean) over tokens, and the shares of tokens where that product exceeds 1 and 5.

    Positive: the update raises what is already likely, so entropy falls (ΔH ≈ −η Cov).
    """
    good_N = valid_N & logp_N.isfinite() & advantage_N.isfinite()
    pair_KN = torch.stack([logp_N, advantage_N])
    centred_KN = pair_KN - masked.mean(pair_KN, good_N)[:, None]
    product_N = centred_KN[0] * centred_KN[1]
    rows_KN = torch.stack(
        [product_N, (product_N > 1.0).to(product_N.dtype), (product_N > 5.0).to(product_N.dtype)]
    )
    return masked.unless_mostly_bad(masked.mean(rows_KN, good_N), valid_N.sum(), good_N.sum())


def divergence(logp_N: Tensor, other_N: Tensor, valid_N: Tensor) -> Tensor:
    """k1, k2, k3 of KL(π ‖ other) from tokens sampled under π, with k1 = ln π − ln other clamped to ±20.

    The sign is that of π: k1 is positive on average when the policy has moved away from ``other``.
    """
    k1_N = (logp_N - other_N).clamp(-CLAMP, CLAMP)
    good_N = valid_N & ~k1_N.isnan()
    rows_KN = torch.stack([k1_N, 0.5 * k1_N * k1_N, torch.expm1(-k1_N) + k1_N])
    return masked.unless_mostly_bad(masked.mean(rows_KN, good_N), valid_N.sum(), good_N.sum())


def spread(x_N: Tensor, valid_N: Tensor) -> Tensor:
    """Mean and population standard deviation over the valid, finite entries."""
    good_N = valid_N & x_N.isfinite()
    return masked.unless_mostly_bad(masked.spread(x_N, good_N), valid_N.sum(), good_N.sum())


def bad(x_N: Tensor, valid_N: Tensor) -> Tensor:
    """How many valid entries are NaN or infinite, as a float of shape [1]."""
    return (valid_N & ~x_N.isfinite()).sum().to(torch.float32)[None]
