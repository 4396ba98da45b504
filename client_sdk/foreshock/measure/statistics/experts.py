"""A router's logits, and what it chose, in; load and indecision of a mixture of experts out.

Shape suffixes: N tokens, E experts, K experts chosen per token, T tasks, W the two windows: this batch, and the records
before it too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import masked
from .table import STATISTICS

TOKENS = 8192  # whose indecision is measured; their choices are counted without exception
LABELLED = 64  # experts, up to which each has an entry of its own in the vector of loads
MEMORY = 0.99  # of the running counts, kept from record to record: a window of a hundred
TASKS = 64  # task numbers that agree modulo this are taken for one
ROWS = 8  # tasks, the first of them, that have a vector of loads of their own
DEAD = 0.01  # of an even share
ENOUGH = 10  # choices per expert, before one of them can be called dead
OCCUPIED = 32  # choices of an expert, before a task can be said to occupy it
VALUES = 1 << 23  # of a router's input, that are copied as float32 at a time

_WINDOWS = ({"window": "batch"}, {"window": "running"})
_LOGITS = ("router_entropy", "router_z", "router_entropy_normalized")
_TASKS = ("expert_task_information", "expert_task_max_share")


def series(
    place: str, experts: int, given: Collection[str] = (), *, labelled: bool = True
) -> list[SeriesSpec]:
    """What `measure` yields, in order, for inputs of these names."""
    each = experts if labelled and experts <= LABELLED else 0
    return [
        *(STATISTICS["expert_load"].series(place, {"expert": str(e)}, "expert") for e in range(each)),
        *(STATISTICS["expert_max_violation"].series(place, window) for window in _WINDOWS),
        *(STATISTICS["expert_load_entropy"].series(place, window) for window in _WINDOWS),
        *(STATISTICS[name].series(place) for name in ("expert_idle", "expert_dead", *_LOGITS)),
        *([STATISTICS["expert_dropped"].series(place)] if {"dropped", "capacity"} & set(given) else []),
        *(_of_tasks(place, each) if "tasks" in given else []),
        STATISTICS["n_eff"].series(place),
        STATISTICS["nonfinite_count"].series(place, {"tensor": "logits"}),
    ]


def _of_tasks(place: str, each: int) -> list[SeriesSpec]:
    tasks = [{"task": str(t)} for t in range(ROWS)]
    load = STATISTICS["expert_task_load"]
    return [
        *(STATISTICS[name].series(place) for name in _TASKS),
        *(load.series(place, {**task, "expert": str(e)}, "expert") for task in tasks for e in range(each)),
        *(STATISTICS["expert_task_choices"].series(place, task) for task in tasks),
    ]


def limits(experts: int) -> tuple[float, ...]:
    """Of both windows the share below which an expert counts as idle or dead, then the choices before that can be said."""
    return (torch.finfo(torch.float32).tiny, DEAD / experts, 1.0, ENOUGH * experts)


def measure(
    given: Mapping[str, Tensor], running_E: Tensor, top_k: int, *, labelled: bool = True
) -> tuple[Tensor, Tensor]:
    """The readings of `series`, and the running counts after this batch.

    ``logits`` [N, E]; ``limits``, those of E as a tensor; ``valid`` [N] if not all tokens count; ``chosen`` [N, K] experts by
    number, else the ``top_k`` largest logits; ``tasks`` [N]; ``uniform`` [N] random numbers, needed beyond TOKENS tokens;
    ``dropped`` [N] or [N, K], true where a choice was not served, or [1], how many tokens that were; or else ``capacity``
    [1], how many choices one expert serves.
    """
    logits_NE = given["logits"]
    experts = logits_NE.shape[1]
    if "chosen" in given:
        peak_N, chosen_NK = logits_NE.amax(1), given["chosen"].long()
        nowhere_NK = (chosen_NK < 0) | (chosen_NK >= experts)
        chosen_NK = chosen_NK.masked_fill(nowhere_NK, experts)
    else:
        largest_NK, chosen_NK = logits_NE.topk(min(top_k, experts), 1)
        peak_N = largest_NK.select(1, 0)
    good_N = masked.finite(peak_N).float()  # NaN, +inf and all -inf show in the largest logit
    asked: Tensor | int = len(good_N)
    if "valid" in given:
        weight_N = given["valid"].float()
        good_N, asked = good_N * weight_N, weight_N.sum()
    count = good_N.sum()

    taken_NK = good_N.unsqueeze(1).expand(chosen_NK.shape)
    count_E = _counts(chosen_NK, taken_NK, experts + 1).narrow(0, 0, experts)
    running_E = torch.add(count_E, running_E, alpha=MEMORY)
    share_E, load = _load(torch.stack([count_E, running_E]), given["limits"])
    parts = [share_E] if labelled and experts <= LABELLED else []
    parts += [load, _indecision(logits_NE, peak_N, good_N, given.get("uniform"))]
    if "dropped" in given:
        parts.append(_dropped(given["dropped"], good_N, count))
    elif "capacity" in given:
        parts.append(((count_E - given["capacity"]).clamp_min(0.0).sum() / count_E.sum()).unsqueeze(0))
    counts = [torch.stack([count, asked - count])]
    if "tasks" in given:
        table_TE = _table(given["tasks"], chosen_NK, taken_NK, experts)
        parts.append(_tasks(table_TE))
        row_TE = table_TE.narrow(0, 0, ROWS)
        of_task_T = row_TE.sum(1)
        if labelled and experts <= LABELLED:
            parts.append((row_TE / of_task_T.unsqueeze(1)).reshape(-1))
        counts.insert(0, of_task_T)
    values = torch.cat(parts).masked_fill(2 * count < asked, math.nan)
    return torch.cat([values, *counts]), running_E


def scores(x: Tensor, weight_ED: Tensor, bias_E: Tensor | None) -> Tensor:
    """The logits of a router that keeps them to itself, from what it was given, [N, E]."""
    x_ND = x.reshape(-1, x.shape[-1])
    if x.dtype == weight_ED.dtype and (bias_E is None or bias_E.dtype == x.dtype):
        return torch.nn.functional.linear(x_ND, weight_ED, bias_E)
    weight_ED, bias_E = weight_ED.float(), None if bias_E is None else bias_E.float()
    rows = max(1, VALUES // x.shape[-1])
    parts = [
        torch.nn.functional.linear(x_ND.narrow(0, top, min(rows, len(x_ND) - top)).float(), weight_ED, bias_E)
        for top in range(0, max(1, len(x_ND)), rows)
    ]
    return torch.cat(parts)


def _counts(index: Tensor, weight: Tensor, bins: int) -> Tensor:
    return weight.new_zeros(bins).index_add_(0, index.reshape(-1), weight.reshape(-1))


def _load(count_WE: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    """The shares of this batch; of both windows violation and entropy, of one each the idle and the dead experts, [6]."""
    experts = count_WE.shape[1]
    least_2W = limits.view(2, 2)
    total_W = count_WE.sum(1)
    share_WE = count_WE / total_W.unsqueeze(1)
    violation_W = share_WE.amax(1).mul(experts).sub(1.0)
    entropy_W = torch.special.entr(share_WE).sum(1) / (math.log(experts) if experts > 1 else math.nan)
    below_W = (share_WE < least_2W.select(0, 0).unsqueeze(1)).mean(1, dtype=torch.float32)
    below_W = below_W.masked_fill(total_W < least_2W.select(0, 1), math.nan)
    return share_WE.select(0, 0), torch.cat([violation_W, entropy_W, below_W])


def _indecision(logits_NE: Tensor, peak_N: Tensor, good_N: Tensor, uniform_N: Tensor | None) -> Tensor:
    """Mean entropy per token, mean square of the log-sum-exp, and the entropy over its maximum, [3]."""
    if len(good_N) > TOKENS and uniform_N is not None:
        rows = masked.sample(good_N, uniform_N, TOKENS)
        logits_NE, peak_N, good_N = (x.index_select(0, rows) for x in (logits_NE, peak_N, good_N))
    p_NE = logits_NE.softmax(1, dtype=torch.float32)
    lse_N = peak_N - p_NE.amax(1).log()
    both = masked.mean(torch.stack([torch.special.entr(p_NE).sum(1), lse_N.square()]), good_N, good_N.sum())
    experts = logits_NE.shape[1]
    return torch.cat([both, both.narrow(0, 0, 1) / (math.log(experts) if experts > 1 else math.nan)])


def _dropped(dropped: Tensor, good_N: Tensor, count: Tensor) -> Tensor:
    """Share of the tokens, or of the choices, that were not served, [1]."""
    if dropped.dim() == 1 and dropped.shape != good_N.shape:
        return dropped.float() / count
    dropped_N = dropped.float() if dropped.dim() == 1 else dropped.float().mean(1)
    return masked.mean(dropped_N.unsqueeze(0), good_N, count)


def _table(task_N: Tensor, chosen_NK: Tensor, taken_NK: Tensor, experts: int) -> Tensor:
    """How often the tokens of each task chose each expert, [T, E]."""
    cell_NK = task_N.remainder(TASKS).unsqueeze(1) * (experts + 1) + chosen_NK
    return _counts(cell_NK, taken_NK, TASKS * (experts + 1)).view(TASKS, -1).narrow(1, 0, experts)


def _tasks(table_TE: Tensor) -> Tensor:
    """Information that task and expert share, over the smaller of their entropies; the largest share of one task, [2]."""
    tables = (table_TE.sum(1), table_TE.sum(0), table_TE)
    of_task_T, of_expert_E, _ = tables
    total = of_task_T.sum()
    of_task, of_expert, joint = torch.stack([torch.special.entr(x / total).sum() for x in tables]).unbind(0)
    tasks, used, cells = torch.stack([(x > 0).sum() for x in tables]).unbind(0)
    # Miller & Madow: each of the three entropies is short by (cells − 1)/2n.
    shared = of_task + of_expert - joint - (cells - tasks - used + 1) / (2 * total)
    information = (shared / torch.minimum(of_task, of_expert)).clamp(0.0, 1.0).masked_fill(used < 2, 0.0)
    largest = (table_TE.amax(0) / of_expert_E).masked_fill(of_expert_E < OCCUPIED, -1.0).amax()
    both = torch.stack([information, largest.masked_fill(largest < 0, math.nan)])
    return both.masked_fill(tasks < 2, math.nan)
