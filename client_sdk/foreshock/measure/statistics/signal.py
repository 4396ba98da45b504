"""What the policy is told to become: log-probabilities, advantages and rewards in; covariance, divergences and spreads out.

Shape suffixes: N tokens, K quantities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from . import masked

CLAMP = 20.0  # nats; beyond it exp() of a single token would be the whole mean

COVARIANCE = ("policy_cov", "policy_cov_above_1", "policy_cov_above_5")


def divergences(of: Sequence[str]) -> list[str]:
    """The names of what `tokens` yields of these policies, in order; of the rollout's, k2 is left out."""
    return [f"kl_{name}_{k}" for k in ("k1", "k3", "k2") for name in of if (name, k) != ("old", "k2")]


def chosen(logits: Tensor, actions_N: Tensor) -> Tensor:
    """The logit of the token taken, ln π once its token's log-sum-exp is taken off; NaN outside the vocabulary.

    ``logits`` is [N, V], or [sequences, tokens, V] with N of both together.
    """
    index_N = actions_N.clamp(0, logits.shape[-1] - 1).long()
    picked_N = logits.gather(-1, index_N.view(logits.shape[:-1]).unsqueeze(-1)).reshape(-1)
    return picked_N.float().masked_fill(index_N != actions_N, math.nan)


def tokens(
    logp_N: Tensor, advantage_N: Tensor | None, others: Mapping[str, Tensor], weight_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Over the tokens of weight one: COVARIANCE where advantages are given, then `divergences` of the others; and how
    many tokens were left out because one of these numbers is not finite, [1].

    Covariance: the mean of (ln π − mean)(A − mean), and the shares of tokens where that product exceeds 1 and 5.
    Positive: the update raises what is already likely, so entropy falls (ΔH ≈ −η Cov). Divergences: k1 = ln π − ln other
    clamped to ±20, k2 = ½ k1², k3 = exp(−k1) − 1 + k1, from tokens sampled under π; k1 is positive on average when the
    policy has moved away from the other.
    """
    probe_N = logp_N if advantage_N is None else logp_N + advantage_N
    k1_KN = None
    if others:
        k1_KN = (logp_N - torch.stack(list(others.values()))).clamp_(-CLAMP, CLAMP)  # NaN stays NaN
        probe_N = probe_N + k1_KN.sum(0)
    good_N = weight_N * masked.finite(probe_N)
    asked, count = weight_N.sum(), good_N.sum()
    rows = []
    if advantage_N is not None:
        pair_2N = torch.stack([logp_N, advantage_N])
        product_N = (pair_2N - masked.mean(pair_2N, good_N, count).unsqueeze(1)).prod(0)
        rows.append(torch.stack([product_N, (product_N > 1.0).float(), (product_N > 5.0).float()]))
    if k1_KN is not None:
        rows += [k1_KN, torch.expm1(-k1_KN) + k1_KN]
        if "ref" in others:
            first_N = k1_KN.select(0, list(others).index("ref"))
            rows.append((0.5 * first_N * first_N).unsqueeze(0))
    means = masked.mean(torch.cat(rows), good_N, count)
    return masked.unless_mostly_bad(means, asked, count), (asked - count).unsqueeze(0)


def spread(x_KN: Tensor, weight_N: Tensor) -> tuple[Tensor, Tensor]:
    """Means and population standard deviations of rows over their finite entries of weight one, [2, K]; and how many
    entries of each were left out, [K]."""
    good_KN = weight_N * masked.finite(x_KN)
    asked, count_K = weight_N.sum(), good_KN.sum(1)
    values = masked.unless_mostly_bad(masked.spread(x_KN, good_KN, count_K), asked, count_K)
    return values, asked - count_K
