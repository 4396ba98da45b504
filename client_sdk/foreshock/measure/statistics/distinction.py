"""States of responses and the prompts that they answer in; how much of their variance lies between prompts out. Or how likely
each response is under each prompt in; how much the responses tell of the prompts out.

Shape suffixes: B responses, T tokens, D width, P prompts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import masked
from .rows import prepare
from .table import STATISTICS

CHUNK = 1 << 24  # values copied to float32 at a time


def series(place: str) -> list[SeriesSpec]:
    """What `measure` yields, in order."""
    return [STATISTICS["response_distinction"].series(place), STATISTICS["n_eff"].series(place)]


def scored_series(place: str) -> list[SeriesSpec]:
    """What `information` yields."""
    return [STATISTICS["response_information"].series(place)]


def pooled(x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
    """Mean over the valid tokens of each response in float32, [B, D], NaN where there is none; the other tokens may hold
    anything. Some responses are copied at a time."""
    count, length, width = x_BTD.shape
    step = max(1, CHUNK // (length * width))
    hidden_BT1 = valid_BT.logical_not().unsqueeze(2)
    parts = []
    for top in range(0, count, step):
        size = min(step, count - top)
        x = x_BTD.narrow(0, top, size).float().masked_fill(hidden_BT1.narrow(0, top, size), 0.0)
        parts.append(x.sum(1))
    return torch.cat(parts) / valid_BT.sum(1, keepdim=True)


def measure(x_BD: Tensor, group: Tensor | int) -> Tensor:
    """The readings of `series`, float32. ``group`` numbers the prompt of each response, by any integers, or is the number of
    responses per prompt, which follow one another. Responses whose states are not finite are left out."""
    rows = prepare(x_BD, torch.ones_like(x_BD.select(1, 0), dtype=torch.bool))
    leader_B = _leaders(group, rows.good)
    within_BD = torch.zeros_like(rows.centred).index_add_(0, leader_B, rows.centred)
    members_B = torch.zeros_like(rows.good).index_add_(0, leader_B, rows.good)
    between = (within_BD.square().sum(1) / members_B.clamp_min(1.0)).sum()
    prompts = (members_B > 0).sum()
    spared = (rows.count - 1.0) / (rows.count - prompts)  # none where every prompt has one response
    value = 1.0 - (1.0 - between / rows.energy.select(0, 1)) * spared
    value = value.masked_fill(rows.nothing.select(0, 1), 0.0)
    value = value.masked_fill((prompts < 2) | (rows.count <= prompts) | rows.bad, math.nan)
    return torch.stack([value, rows.count])


def information(scores_BP: Tensor, own_B: Tensor) -> Tensor:
    """The reading of `scored_series`, float32, [1]: mean of ln p(y|x) − ln (1/P) Σ_j p(y|x_j).

    ``scores_BP`` has ln p of each whole response under each prompt, ``own_B`` the column of the one that it answered. A prompt
    under which a response is impossible may hold −∞; what else is not finite, and a column that is not there, takes the response
    out.
    """
    scores_BP, prompts = scores_BP.double(), scores_BP.shape[1]
    there_B = own_B.clamp(0, prompts - 1)
    own_B1 = scores_BP.gather(1, there_B.unsqueeze(1))
    apart_BP = scores_BP - own_B1  # first, so that the size of a long response's score costs no digit
    told_B = (math.log(prompts) - apart_BP.logsumexp(1)).masked_fill(there_B != own_B, math.nan)
    good_B = masked.finite(told_B)
    count = good_B.sum()
    value = told_B.masked_fill(good_B.logical_not(), 0.0).sum() / count
    useless = (2 * count < len(told_B)).logical_or(count * (prompts - 1) == 0)
    return value.masked_fill(useless, math.nan).float().unsqueeze(0)


def _leaders(group: Tensor | int, like_B: Tensor) -> Tensor:
    """For each response the place of one of its prompt, the same for all of them."""
    place_B = torch.arange(len(like_B), device=like_B.device)
    if isinstance(group, int):
        return torch.div(place_B, group, rounding_mode="floor") * group
    number_B, order_B = group.sort()
    return torch.zeros_like(place_B).scatter(0, order_B, torch.searchsorted(number_B, number_B))
