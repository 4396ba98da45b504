"""Logits in; which class each row predicts, and what all rows predict together, out. A chunk is copied, never the logits.

Shape suffixes: S rows, R the rows of one chunk, V classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from . import picking
from .online import LOG2E

ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 24}  # logits of a chunk


def predicted(logits: Tensor, rows_S: Tensor) -> Tensor:
    """The likeliest class of each of these rows, of several the first, [S]; of a row with NaN, any."""
    parts = [picking.pick(logits, rows_R).argmax(1) for rows_R in _parts(logits, rows_S)]
    return torch.cat(parts) if parts else rows_S.new_empty(0)


def marginal(logits: Tensor, rows_S: Tensor, lse_S: Tensor, weight_S: Tensor) -> Tensor:
    """Σ weight · softmax over these rows, [V]. ``lse_S`` is their log-sum-exp; a row of weight zero may hold anything, and
    all is NaN when no row has weight."""
    first = weight_S.argmax(0, keepdim=True)  # of the rows that count: it stands in for those that do not
    counts_S = weight_S > 0
    rows_S = torch.where(counts_S, rows_S, rows_S.index_select(0, first))
    lse_S = torch.where(counts_S, lse_S, lse_S.index_select(0, first))
    total_V = weight_S.new_zeros(logits.shape[-1])
    for rows_R, lse_R, weight_R in zip(*(_parts(logits, x) for x in (rows_S, lse_S, weight_S)), strict=True):
        y_RV = picking.pick(logits, rows_R).float().sub_(lse_R.unsqueeze(1))
        total_V.addmv_(y_RV.mul_(LOG2E).exp2_().t(), weight_R)
    return total_V.masked_fill(weight_S.sum() == 0, math.nan)


def histogram(class_S: Tensor, weight_S: Tensor, classes: int) -> Tensor:
    """How much weight each class has, [V]; a class that is not there has none."""
    index_S = class_S.clamp(0, classes - 1).long()
    return weight_S.new_zeros(classes).index_add_(0, index_S, weight_S * (index_S == class_S))


def entropy(weight_V: Tensor) -> Tensor:
    """Entropy of the distribution that these weights are in proportion to, in nats, []; NaN without any weight."""
    share_V = weight_V / weight_V.sum()
    found: Tensor = torch.special.entr(share_V)
    return found.sum().clamp_min(0.0)


def _parts(logits: Tensor, x_S: Tensor) -> Iterator[Tensor]:
    """The entries of the rows of one chunk after another."""
    height = max(1, ELEMENTS[logits.device.type] // max(logits.shape[-1], 1))
    for top in range(0, x_S.shape[0], height):
        yield x_S.narrow(0, top, min(height, x_S.shape[0] - top))
