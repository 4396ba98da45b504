"""Queries and keys in; the entropy of every query's attention out, from one pass of a fused kernel, in O(queries) memory.

Shape suffixes: B sequences, H heads, G heads of the keys, R query heads of each, T queries, S keys, D head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import masked


def fits(q_BHTD: Tensor, k_BGSD: Tensor, causal: bool) -> bool:
    """True where a fused kernel returns the log-sum-exp of what these queries and keys give."""
    square = not causal or q_BHTD.shape[2] == k_BGSD.shape[2]
    if q_BHTD.is_cuda:
        half = q_BHTD.dtype in (torch.bfloat16, torch.float16)
        return square and half and q_BHTD.shape[3] % 8 == 0 and q_BHTD.shape[3] <= 256
    return square


def entropies(q_BHTD: Tensor, k_BGSD: Tensor, causal: bool, scale: float) -> Tensor:
    """Entropy per head, and over ln of the visible keys, of all queries, [2, H]: the kernel is given the keys as values.

    H = ln Σ exp s − E[s], and E[s] = scale · q · E[k], which is what the kernel then returns. Error at most 3e-5 nat in
    float32; in bfloat16 the rounding of its output costs up to 0.2 nat where a head is sharp.
    """
    heads, queries = q_BHTD.shape[1:3]
    group = heads // k_BGSD.shape[1]
    q_BGRTD = q_BHTD.reshape(*k_BGSD.shape[:2], group, *q_BHTD.shape[2:])
    parts = [_kernel(q_BGRTD.select(2, one), k_BGSD, causal, scale) for one in range(group)]
    entropy_BHT = parts[0] if group == 1 else torch.stack(parts, 2).flatten(1, 2)
    keys = k_BGSD.shape[2]
    seen_T = torch.full_like(entropy_BHT.select(0, 0).select(0, 0), keys)
    if causal:
        seen_T = torch.arange(1, queries + 1, device=seen_T.device, dtype=seen_T.dtype).clamp_max_(keys)
    asked_T = (seen_T > 1).float()
    good_BHT = asked_T * masked.finite(entropy_BHT)
    both_2BHT = torch.stack([entropy_BHT, entropy_BHT / seen_T.log()]).masked_fill(good_BHT == 0, 0.0)
    good_H = good_BHT.sum((0, 2))
    return masked.unless_mostly_bad(both_2BHT.sum((1, 3)) / good_H, asked_T.sum() * q_BHTD.shape[0], good_H)


def _kernel(q: Tensor, k: Tensor, causal: bool, scale: float) -> Tensor:
    if q.is_cuda:
        run = torch.ops.aten._scaled_dot_product_flash_attention
        out, lse = run(q, k, k, 0.0, causal, False, scale=scale)[:2]
    else:
        run = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out, lse = run(q, k, k, 0.0, causal, scale=scale)
    mean: Tensor = scale * (q.float() * out.float()).sum(-1)
    return mean.neg_().add_(lse.float()).clamp_min_(0.0)
