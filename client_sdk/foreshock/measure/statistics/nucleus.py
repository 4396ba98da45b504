"""Logits in; entropy and size of the nucleus, the fewest tokens that hold 95 % of the probability, out. Nothing is sorted.

Shape suffixes: N measured tokens, R those looked at, V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import fused, picking
from .online import LOG2E, NOTHING, Rooms

MASS = 0.95
VALUES = 1 << 22  # logits looked at: 27 rows of a vocabulary of 151 936, all rows of a small one
STEPS = 10  # halvings of at most ln(V / (1 − MASS)): the threshold is then exact to 0.015 nat
CHUNK = {"cpu": 1 << 18, "cuda": VALUES}
GOLDEN = (math.sqrt(5) - 1) / 2
YIELDS = ("policy_nucleus_entropy", "policy_nucleus_size")


def positions(count: int, vocabulary: int, like: Tensor) -> Tensor:
    """Which of ``count`` rows are looked at: spread evenly, and never in step with the length of a sequence."""
    rows = max(1, min(count, VALUES // max(vocabulary, 1)))
    number_R = torch.arange(rows, device=like.device)
    if rows == count:
        return number_R
    within_R = (number_R * GOLDEN).frac()
    return ((number_R + within_R) * (count / rows)).long().clamp_max(count - 1)


def measure(logits: Tensor, rows_R: Tensor, entropy_R: Tensor, weight_R: Tensor, entropy: Tensor) -> Tensor:
    """Mean entropy within the nucleus, and the mean number of tokens in it, over the picked rows of weight one, [2].

    The entropy is ``entropy``, the mean over all measured tokens, times what the nucleus holds of the entropy ``entropy_R``
    of the rows looked at: the ratio varies far less from sample to sample than the entropies do.
    """
    inner_R, size_R = within(logits, rows_R).unbind(0)
    good_R = weight_R * (inner_R == inner_R)
    whole = (torch.nan_to_num(entropy_R, 0.0, 0.0, 0.0) * good_R).sum()
    share = (torch.nan_to_num(inner_R, 0.0) * good_R).sum() / whole
    count = good_R.sum()
    size = (torch.nan_to_num(size_R, 0.0) * good_R).sum() / count
    value = (entropy * share).masked_fill(whole == 0, 0.0).masked_fill(count == 0, math.nan)
    return torch.stack([value, size])


def within(logits: Tensor, rows_R: Tensor) -> Tensor:
    """Entropy of the nucleus of each of these rows, its probabilities summing to one, and how many tokens it has, [2, R].

    Tokens as likely as the least likely one of the nucleus belong to it. NaN where the logits are NaN, +inf or all -inf.
    """
    if fused.suits(logits):
        found = fused.nucleus(logits, rows_R, MASS, STEPS)
        if found is not None:
            return found
    height = max(1, CHUNK[logits.device.type] // max(logits.shape[-1], 1))
    count = rows_R.shape[0]
    parts, rooms = [], Rooms()
    for top in range(0, count, height):
        picked = picking.pick(logits, rows_R.narrow(0, top, min(height, count - top)))
        parts.append(_within(rooms.copy("x", picked), rooms))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _within(x_RV: Tensor, rooms: Rooms) -> Tensor:
    y_RV = x_RV.sub_(x_RV.amax(1, keepdim=True)).clamp_min_(NOTHING)
    w_RV = torch.mul(y_RV, LOG2E, out=rooms.take("w", x_RV)).exp2_()
    total_R = w_RV.sum(1)
    wanted_R = MASS * total_R
    # All tokens less likely than (1 − MASS)/V together are less than what may be left out: the threshold lies above that.
    least_R = (total_R * ((1.0 - MASS) / x_RV.shape[1])).log_()
    span_R = -least_R
    inside_RV = rooms.take("inside", x_RV)  # 0.0 or 1.0: faster than bool
    enough_R = torch.empty_like(total_R)
    for step in range(1, STEPS + 1):
        middle_R = torch.add(least_R, span_R, alpha=0.5**step)
        mass_R = torch.ge(y_RV, middle_R.unsqueeze(1), out=inside_RV).mul_(w_RV).sum(1)
        torch.ge(mass_R, wanted_R, out=enough_R)
        least_R = torch.addcmul(least_R, enough_R, span_R, value=0.5**step)
    size_R = torch.ge(y_RV, least_R.unsqueeze(1), out=inside_RV).sum(1)
    mass_R = w_RV.mul_(inside_RV).sum(1)
    entropy_R = (mass_R.log() - w_RV.mul_(y_RV).sum(1) / mass_R).clamp_min(0.0)
    return torch.stack([entropy_R, size_R]).masked_fill(entropy_R != entropy_R, math.nan)
