"""A classifier's logits, and its targets where given, in; their size, what the softmax makes of it and of rounding, out.

Shape suffixes: N rows, S measured rows, V classes, K quantities.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import masked, picking, predictions, tokens
from .table import STATISTICS

MEANS = (
    "output_entropy",
    "output_top1",
    "output_lse",
    "output_z_loss",
    "output_logit_mean",
    "output_margin",
    "absorbed_share",
    "softmax_collapse_share",
)
TOGETHER = (
    "output_logit_max",
    "output_entropy_normalized",
    "output_marginal_entropy",
    "output_information",
    "output_predicted_entropy",
)
TARGETS = ("zero_loss_share", "output_target_entropy")


def series(given: Collection[str], place: str) -> list[SeriesSpec]:
    """What `measure` yields, in order, for inputs of these names."""
    names = (*MEANS, *TOGETHER, *(TARGETS if "targets" in given else ()), "output_rows")
    return [
        *(STATISTICS[name].series(place) for name in names),
        STATISTICS["nonfinite_count"].series(place, {"tensor": "logits"}),
    ]


def measure(given: Mapping[str, Tensor], rows_at_most: int) -> Tensor:
    """One float32 row in the order of `series`.

    ``logits`` [N, V] or [sequences, tokens, V]; ``valid`` [N]; ``targets`` [N] class numbers, of which those outside
    0…V − 1 mark rows that do not count. With ``uniform`` [N], random numbers, at most ``rows_at_most`` are measured.
    """
    logits, weight_S, targets_S = given["logits"], given["valid"].float(), given.get("targets")
    classes = logits.shape[-1]
    if targets_S is not None:
        weight_S = weight_S * ((targets_S >= 0) & (targets_S < classes))
    if "uniform" in given and rows_at_most < len(weight_S):
        rows_S = masked.sample(weight_S, given["uniform"], rows_at_most)
        weight_S = weight_S.index_select(0, rows_S)
        targets_S = None if targets_S is None else targets_S.index_select(0, rows_S)
    else:
        rows_S = torch.arange(len(weight_S), device=logits.device)
    found_FS = tokens.scan(logits, rows_S, sizes=True)
    entropy_S, _, top_S, lse_S, peak_S, largest_S, mean_S, margin_S = found_FS.unbind(0)
    good_S = weight_S * (entropy_S == entropy_S)
    asked, count = weight_S.sum(), good_S.sum()
    collapsed_S, absorbed_S = rounding(top_S, margin_S, logits.dtype)
    rows_KS = [entropy_S, top_S, lse_S, lse_S.square(), mean_S, margin_S, absorbed_S, collapsed_S]
    if targets_S is not None:
        rows_KS.append(collapsed_S * (picking.entry(logits, rows_S, targets_S) == peak_S))
    means_K = masked.mean(torch.stack(rows_KS), good_S, count)
    together = predictions.entropy(predictions.marginal(logits, rows_S, lse_S, good_S))
    decided = predictions.histogram(predictions.predicted(logits, rows_S), good_S, classes)
    entropy = means_K.select(0, 0)
    values = [
        means_K.narrow(0, 0, len(MEANS)),
        torch.stack(
            [
                (torch.nan_to_num(largest_S, 0.0) * good_S).amax().masked_fill(count == 0, math.nan),
                entropy / math.log(classes),
                together,
                (together - entropy).clamp_min(0.0),
                predictions.entropy(decided),
            ]
        ),
    ]
    if targets_S is not None:
        target = predictions.entropy(predictions.histogram(targets_S, good_S, classes))
        values.append(torch.stack([means_K.select(0, len(MEANS)), target]))
    values_K = masked.unless_mostly_bad(torch.cat(values), asked, count)
    return torch.cat([values_K, torch.stack([count, asked - count])])


def rounding(top_S: Tensor, margin_S: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Of each row, as 0.0 or 1.0: whether Σ exp(z − max z) rounds to one in this dtype, and whether the second logit alone
    is so far below the first that adding it changes nothing."""
    gap = math.log(2.0 / torch.finfo(dtype).eps)  # 16.6 nats in float32, 7.6 in float16, 5.5 in bfloat16
    absorbed_S = (margin_S > gap).float()
    if dtype == torch.float64:
        return absorbed_S, absorbed_S  # the sum is had in float32: too coarse to tell
    return (top_S.reciprocal().to(dtype) == 1.0).float(), absorbed_S
