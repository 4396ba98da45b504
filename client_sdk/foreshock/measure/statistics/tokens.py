"""Logits in; entropy, varentropy, top probability and log-sum-exp of every token out, in one max-centred pass.

Shape suffixes: N tokens, V vocabulary, R the tokens of one row chunk, S sampled tokens, F the four quantities.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import masked, picking

COLUMNS = 8192  # vocabulary entries per chunk: bounds the float32 copy of a chunk
ELEMENTS = 1 << 21  # values per chunk: 8 MiB of float32, a few such at a time
NOTHING = -200.0  # exp() of it is 0 in float32, and 0 times it is 0: the same as -inf without 0 · inf

PERCENTILES = (5, 25, 50, 80, 95, 99)
LEVELS = tuple(percentile / 100 for percentile in PERCENTILES)
YIELDS = (
    "policy_entropy",
    "policy_varentropy",
    "policy_top1",
    "policy_lse",
    "policy_top1_above_99",
    *(f"policy_entropy_p{percentile:02d}" for percentile in PERCENTILES),
    "policy_entropy_normalized",
)


def scan(
    logits: Tensor,
    rows_S: Tensor | None = None,
    *,
    squares: bool = False,
    columns: int = COLUMNS,
    elements: int = ELEMENTS,
) -> Tensor:
    """Entropy, varentropy, top-1 probability and log-sum-exp per token, [4, N]; with ``squares`` also Σp² and Σp² ln p,
    [6, N]. NaN for a token whose logits are NaN, +inf or all -inf.

    ``logits`` is [N, V], or [sequences, tokens, V] with N of both together; ``rows_S`` picks some of the N. A chunk at a
    time is copied, never the logits as a whole. A -inf logit is an impossible token.
    """
    width = logits.shape[-1]
    count = picking.count(logits) if rows_S is None else rows_S.shape[0]
    if count == 0:
        return logits.new_empty((6 if squares else 4, 0), dtype=torch.float32)
    merged = picking.matrix(logits)
    if merged is not None:
        logits = merged
    elif rows_S is None:
        rows_S = torch.arange(count, device=logits.device)
    height = max(256, elements // min(width, columns))
    parts = []
    for top in range(0, count, height):
        rows = min(height, count - top)
        if rows_S is None:
            parts.append(_scan_rows(logits.narrow(0, top, rows), None, columns, squares))
        else:
            parts.append(_scan_rows(logits, rows_S.narrow(0, top, rows), columns, squares))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _scan_rows(logits: Tensor, picked_R: Tensor | None, columns: int, squares: bool) -> Tensor:
    width = logits.shape[-1]
    if width == 0:
        raise ValueError("logits have an empty last dimension; pass [tokens, vocabulary]")
    peak_R, sums = None, []  # max; Σw, Σwy, Σwy² with y = logit − max, w = exp(y); and Σw², Σw²y
    for left in range(0, width, columns):
        chunk = logits.narrow(-1, left, min(columns, width - left))
        if picked_R is not None:
            chunk = picking.pick(chunk, picked_R)
        chunk = chunk.float()
        top_R = chunk.amax(1)
        if peak_R is not None:
            top_R = torch.maximum(peak_R, top_R)
        centre_R = top_R.masked_fill(top_R == -math.inf, 0.0)  # all -inf so far: -inf − (-inf) would be NaN
        y = (chunk - centre_R.unsqueeze(1)).clamp_min_(NOTHING)
        w = y.exp()
        added = [w.sum(1)]
        if squares:
            square = w * w
            squared = [square.sum(1), square.mul_(y).sum(1)]
        added += [w.mul_(y).sum(1), w.mul_(y).sum(1)]
        if squares:
            added += squared
        if peak_R is not None:
            empty_R = peak_R == -math.inf
            shift_R = (peak_R - centre_R).masked_fill(empty_R, 0.0)
            scale_R = shift_R.exp().masked_fill(empty_R, 0.0)
            added = [x + y for x, y in zip(added, _moved(sums, shift_R, scale_R), strict=True)]
        peak_R, sums = top_R, added
    assert peak_R is not None  # noqa: S101
    total_R, first_R, second_R = sums[:3]
    log_total_R = total_R.log()
    mean_R = first_R / total_R
    entropy_R = log_total_R - mean_R
    varentropy_R = (second_R / total_R - mean_R * mean_R).clamp_min(0.0)
    found = [entropy_R, varentropy_R, total_R.reciprocal(), peak_R + log_total_R]
    if squares:
        scale_R = total_R.reciprocal().square()
        square_R = sums[3] * scale_R
        found += [square_R, sums[4] * scale_R - square_R * log_total_R]
    return torch.stack(found)


def _moved(sums: list[Tensor], shift_R: Tensor, scale_R: Tensor) -> list[Tensor]:
    """The sums about a maximum that lies ``−shift`` higher: w becomes scale · w, y becomes y + shift."""
    total, first, second = sums[:3]
    found = [
        scale_R * total,
        scale_R * (first + shift_R * total),
        scale_R * (second + 2 * shift_R * first + shift_R * shift_R * total),
    ]
    if len(sums) > 3:
        square_R = scale_R * scale_R
        found += [square_R * sums[3], square_R * (sums[4] + shift_R * sums[3])]
    return found


def policy(scanned_FN: Tensor, weight_N: Tensor, vocabulary: int, levels_K: Tensor) -> tuple[Tensor, Tensor]:
    """The policy-entropy family over the tokens of weight one whose logits are finite, in the order of YIELDS; and how
    many are not, [1]. ``levels_K`` is LEVELS as a tensor."""
    entropy_N, _, top_N, _ = scanned_FN.unbind(0)
    good_N = weight_N * (
        entropy_N == entropy_N
    )  # a token whose logits are not finite reads NaN, which is not itself
    asked, count = weight_N.sum(), good_N.sum()
    means = masked.mean(torch.cat([scanned_FN, (top_N > 0.99).unsqueeze(0)]), good_N, count)
    most = math.log(vocabulary) if vocabulary > 1 else math.nan
    levels = masked.quantiles(entropy_N, good_N, count, levels_K)
    values = torch.cat([means, levels, means.narrow(0, 0, 1) / most])
    return masked.unless_mostly_bad(values, asked, count), (asked - count).unsqueeze(0)
