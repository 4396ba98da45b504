"""Predictions of a model that adapts itself to its test data in; how close they have come to one class for everything, out.

Shape suffixes: N samples, C classes, K quantities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import masked, predictions, tokens
from .table import STATISTICS

WINDOW = 512  # samples after which a prediction weighs 1/e: batches may be as small as one sample
MEANS = ("adaptation_entropy", "adaptation_confidence")
TOGETHER = (
    "adaptation_marginal_entropy",
    "adaptation_information",
    "adaptation_top_class_share",
    "adaptation_classes",
)
ROWS = len(("softmax", "decisions", "entropy"))  # of the memory


def series(place: str) -> list[SeriesSpec]:
    """What `measure` yields, in order."""
    return [
        *(STATISTICS[name].series(place) for name in (*MEANS, *TOGETHER, "adaptation_samples")),
        STATISTICS["nonfinite_count"].series(place, {"tensor": "logits"}),
    ]


def measure(given: Mapping[str, Tensor], memory_3C: Tensor, rows_at_most: int) -> Tensor:
    """One float32 row in the order of `series`.

    ``logits`` [N, C] or [images, positions, C]; ``valid`` [N]. With ``uniform`` [N], random numbers, at most
    ``rows_at_most`` are measured. ``memory_3C`` holds weighted sums over earlier calls, zeros at first, and is changed here:
    of the softmax, of the decided classes, and, in its first two places, of the entropy and of the weight.
    """
    logits, weight_N = given["logits"], given["valid"].float()
    if "uniform" in given and rows_at_most < len(weight_N):
        rows_N = masked.sample(weight_N, given["uniform"], rows_at_most)
        weight_N = weight_N.index_select(0, rows_N)
    else:
        rows_N = torch.arange(len(weight_N), device=logits.device)
    entropy_N, _, top_N, lse_N = tokens.scan(logits, rows_N).unbind(0)
    good_N = weight_N * (entropy_N == entropy_N)
    asked, count = weight_N.sum(), good_N.sum()
    means_2 = masked.mean(torch.stack([entropy_N, top_N]), good_N, count)

    classes = memory_3C.shape[1]
    softmax_C = torch.nan_to_num(predictions.marginal(logits, rows_N, lse_N, good_N), 0.0)
    decided_C = predictions.histogram(predictions.predicted(logits, rows_N), good_N, classes)
    sums = torch.stack([(torch.nan_to_num(entropy_N, 0.0) * good_N).sum(), count])
    new_3C = torch.stack([softmax_C, decided_C, torch.nn.functional.pad(sums, (0, classes - 2))])
    memory_3C.mul_((-count / WINDOW).exp()).add_(new_3C)

    softmax_C, decided_C, rest_C = memory_3C.unbind(0)
    marginal = predictions.entropy(softmax_C)
    mean = rest_C.select(0, 0) / rest_C.select(0, 1)
    values_K = torch.cat(
        [
            means_2,
            torch.stack(
                [
                    marginal,
                    (marginal - mean).clamp_min(0.0),
                    decided_C.amax() / decided_C.sum(),
                    predictions.entropy(decided_C).exp(),
                ]
            ),
        ]
    )
    values_K = masked.unless_mostly_bad(values_K.masked_fill(count == 0, math.nan), asked, count)
    return torch.cat([values_K, torch.stack([count, asked - count])])
