"""Queries and keys of an attention layer, or its logits, in; what each head looks at, and the layer over its heads, out.

A few sequences and a few queries of each stand for all; of those every visible key is read, in float32.

Shape suffixes: B sequences, H heads, G heads of the keys, T queries, M sampled queries, S keys, D head width, F quantities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import attention_kernel, masked, tokens
from .table import STATISTICS

SEQUENCES = 2  # of a batch, evenly spaced
QUERIES = 64  # of each sequence, one from each of that many equal stretches
HEADS = 64  # that have entries of their own in the vectors of a layer
SINK = 0.9  # of a query's attention on the first key
ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 22}  # logits held at a time
HIDDEN = -9000.0  # a bias this low hides a key: exp() of it is 0 in every precision
LEVELS = (0.0, 0.1, 0.5)
BELOW = (0.05, 0.1)
ABOVE = 0.95
_OF_A_HEAD = ("attention_entropy_normalized", "attention_logit_max")
_QUANTITIES = 7  # per head, in the order of `of_queries`


def series(place: str, heads: int, *, bounded: bool = True) -> list[SeriesSpec]:
    """What `layer` yields, in order."""
    over = [
        ("attention_entropy", {}),
        *(("attention_entropy_normalized", {"heads": heads}) for heads in ("mean", "min", "p10", "median")),
        *(("attention_heads_below", {"level": f"{level:.2f}"}) for level in BELOW),
        ("attention_heads_above", {"level": f"{ABOVE:.2f}"}),
        ("attention_sink", {}),
        ("attention_sink_share", {}),
        ("attention_logit_spread", {}),
        ("attention_logit_max", {"heads": "max"}),
        *([("attention_logit_bound", {})] if bounded else []),
        ("nonfinite_count", {"tensor": "attention"}),
    ]
    own = [
        STATISTICS[name].series(place, {"head": str(head)}, "head")
        for name in _OF_A_HEAD
        for head in range(min(heads, HEADS))
    ]
    return [*(STATISTICS[name].series(place, labels) for name, labels in over), *own]


def layer(of_heads_FH: Tensor, heads: int, levels: Tensor, *, bounded: bool = True) -> Tensor:
    """The row of `series` from what `of_queries` or `of_logits` found; ``levels`` is LEVELS as a tensor.

    A head most of whose queries are not finite is left out. Heads beyond the first HEADS have no entries of their own but
    count; where there are fewer than ``heads``, the missing ones read NaN.
    """
    means_FH, bad_H = of_heads_FH.narrow(0, 0, _QUANTITIES), of_heads_FH.select(0, _QUANTITIES)
    entropy_H, normalized_H, sink_H, held_H, spread_H, highest_H, bound_H = means_FH.unbind(0)
    good_H = masked.finite(normalized_H).float()
    count = good_H.sum()
    mean_K = masked.mean(
        torch.stack(
            [
                entropy_H,
                normalized_H,
                *((normalized_H < level).float() for level in BELOW),
                (normalized_H > ABOVE).float(),
                sink_H,
                held_H,
                spread_H,
            ]
        ),
        good_H,
        count,
    )
    low_3 = masked.quantiles(normalized_H, good_H, count, levels)
    most_2 = torch.stack([highest_H, bound_H]).masked_fill(good_H == 0, -math.inf).amax(1)
    most_2 = most_2.masked_fill(count == 0, math.nan)
    own_2H = torch.stack([normalized_H, highest_H]).narrow(1, 0, min(HEADS, len(normalized_H)))
    short = min(heads, HEADS) - own_2H.shape[1]
    if short:  # fewer heads than the row was made for, or more: keep its length
        own_2H = (
            torch.nn.functional.pad(own_2H, (0, short), value=math.nan)
            if short > 0
            else own_2H.narrow(1, 0, heads)
        )
    return torch.cat(
        [
            mean_K.narrow(0, 0, 2),
            low_3,
            mean_K.narrow(0, 2, 6),
            most_2.narrow(0, 0, 2 if bounded else 1),
            bad_H.sum().unsqueeze(0),
            own_2H.reshape(-1),
        ]
    )


def of_queries(
    q_BHTD: Tensor,
    k_BGSD: Tensor,
    uniform_M: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    softcap: float | None = None,
    exact: bool = False,
) -> Tensor:
    """Per head entropy, the same over ln of the visible keys, mass on the first key, share of queries with more than SINK
    there, spread and maximum of the logits, their bound, and how many queries are not finite, [8, H].

    Query head h reads key head h·G//H. ``mask`` is true where a query may look, or a bias on the logits, and broadcasts to
    [B, H, T, S]; ``causal`` hides the keys after a query's own place; ``softcap`` c makes a logit x into c·tanh(x/c).
    ``uniform_M`` is QUERIES random numbers. Queries that see fewer than two keys do not count. With ``exact``, where a
    fused kernel serves this, entropies of heads above one nat are over all queries of the sequences.
    """
    batch = q_BHTD.shape[0]
    q_BHTD, k_BGSD = few(q_BHTD, batch), few(k_BGSD, batch)
    mask = None if mask is None else few(_four(mask), batch)
    heads, queries, width = q_BHTD.shape[1:]
    keys = k_BGSD.shape[2]
    scale = width**-0.5 if scale is None else scale
    rows_M = places(queries, uniform_M)
    q_BHMD = q_BHTD.index_select(2, rows_M)
    bias, hidden = _hidden(mask, causal, rows_M, keys)
    first_B = None if mask is None or hidden is None else _first(hidden)
    group = heads // k_BGSD.shape[1]
    # Heads at a time so that neither their logits nor their keys in float32 are more than ELEMENTS; then queries at a time.
    each = q_BHMD.shape[0] * keys * max(group * len(rows_M), width)
    together = max(1, ELEMENTS[q_BHTD.device.type] // max(each, 1)) * group
    few_rows = max(1, ELEMENTS[q_BHTD.device.type] * len(rows_M) // max(each, 1) if each > 0 else len(rows_M))
    parts = []
    for head in range(0, heads, together):
        chunk = range(head, min(head + together, heads))
        q = q_BHMD.narrow(1, head, len(chunk)).float() * scale
        k = k_BGSD.narrow(1, head // group, len(chunk) // group).float()
        found = []
        for row in range(0, len(rows_M), few_rows):
            height = min(few_rows, len(rows_M) - row)
            s = _product(q.narrow(2, row, height), k)
            if softcap is not None:
                s = s.div_(softcap).tanh_().mul_(softcap)
            if bias is not None:
                s = s.add_(_part(bias, chunk, row, height))
            found.append(_rows(s, None if hidden is None else _part(hidden, chunk, row, height), first_B))
        parts.append(found[0] if len(found) == 1 else torch.cat(found, 3))
    found_FBHM = parts[0] if len(parts) == 1 else torch.cat(parts, 2)
    bound_H = _bound(q_BHTD, k_BGSD, abs(scale))
    if softcap is not None:
        bound_H = (bound_H / softcap).tanh() * softcap
    found_FH = _heads(found_FBHM, bound_H)
    if exact and mask is None and softcap is None and attention_kernel.fits(q_BHTD, k_BGSD, causal):
        every_2H = attention_kernel.entropies(q_BHTD, k_BGSD, causal, scale)
        entropies_2H = found_FH.narrow(0, 0, 2)
        sharp_H = entropies_2H.select(0, 0) < 1.0  # where the kernel's rounded output would tell
        found_FH = torch.cat(
            [torch.where(sharp_H, entropies_2H, every_2H), found_FH.narrow(0, 2, _QUANTITIES - 1)]
        )
    return found_FH


def of_logits(s_BHTS: Tensor, uniform_M: Tensor) -> Tensor:
    """The same from the logits that a layer hands to its softmax, scaled and masked; no bound is known of them, it reads NaN."""
    s_BHTS = few(s_BHTS, s_BHTS.shape[0])
    rows_M = places(s_BHTS.shape[2], uniform_M)
    s_BHMS = s_BHTS.index_select(2, rows_M).float()
    hidden = s_BHMS <= HIDDEN
    s_BHMS = s_BHMS.masked_fill_(hidden, -math.inf)
    found_FBHM = _rows(s_BHMS, hidden, _first(hidden))
    return _heads(found_FBHM, torch.full_like(found_FBHM.select(0, 0).select(0, 0).select(1, 0), math.nan))


def few(x: Tensor, batch: int) -> Tensor:
    """At most SEQUENCES of them, evenly spaced: a view. What has one for all sequences keeps it."""
    if x.shape[0] != batch or batch <= SEQUENCES:
        return x
    step = batch // SEQUENCES
    kept: Tensor = torch.ops.aten.slice.Tensor(x, 0, 0, step * SEQUENCES, step)
    return kept


def places(queries: int, uniform_M: Tensor) -> Tensor:
    """Which queries to read: all when they are few, else a random one of each of as many equal stretches."""
    many = uniform_M.shape[0]
    if queries <= many:
        return torch.arange(queries, device=uniform_M.device)
    stretch = torch.arange(many, device=uniform_M.device)
    return (stretch + uniform_M).mul_(queries / many).long().clamp_max_(queries - 1)


def _rows(s_BHMS: Tensor, hidden: Tensor | None, first_B: Tensor | None) -> Tensor:
    """Entropy, the same over ln of the visible keys, mass on the first key, spread and maximum of the logits, and how many
    keys are visible, per query, [6, B, H, M]. Hidden logits are overwritten."""
    keys = s_BHMS.shape[-1]
    if hidden is not None:
        s_BHMS = s_BHMS.masked_fill_(hidden, -math.inf)
    found = tokens.scan(s_BHMS.reshape(-1, keys)).reshape(-1, *s_BHMS.shape[:-1])
    entropy, _, top, lse = found.unbind(0)
    if first_B is None:
        first = s_BHMS.select(3, 0)
    else:
        index = first_B.reshape(-1, 1, 1, 1).expand(*s_BHMS.shape[:3], 1)
        first = s_BHMS.gather(3, index).squeeze(3)
    if hidden is None:
        seen = torch.full_like(entropy, keys)
        spread = s_BHMS.std(-1, correction=0)
    else:
        seen = (keys - hidden.sum(-1)).expand_as(entropy).float()
        centre = s_BHMS.masked_fill(hidden, 0.0).sum(-1) / seen
        away = (s_BHMS - centre.unsqueeze(3)).masked_fill_(hidden, 0.0)
        spread = (away.square_().sum(-1) / seen).sqrt()
    return torch.stack([entropy, entropy / seen.log(), (first - lse).exp(), spread, lse + top.log(), seen])


def _heads(found_FBHM: Tensor, bound_H: Tensor) -> Tensor:
    """Over the queries of each head that see two keys or more, [8, H]."""
    entropy, normalized, sink, spread, highest, seen = found_FBHM.unbind(0)
    asked = (seen > 1).float()
    good = asked * masked.finite(entropy)
    asked_H, good_H = asked.sum((0, 2)), good.sum((0, 2))
    each = torch.stack([entropy, normalized, sink, (sink > SINK).float(), spread])
    mean_FH = each.masked_fill(good == 0, 0.0).sum((1, 3)) / good_H
    highest_H = highest.masked_fill(good == 0, -math.inf).amax((0, 2)).masked_fill(good_H == 0, math.nan)
    values_FH = torch.cat([mean_FH, torch.stack([highest_H, bound_H.masked_fill(good_H == 0, math.nan)])])
    values_FH = masked.unless_mostly_bad(values_FH, asked_H, good_H)
    return torch.cat([values_FH, (asked_H - good_H).unsqueeze(0)])


def _bound(q_BHTD: Tensor, k_BGSD: Tensor, scale: float) -> Tensor:
    """Cauchy–Schwarz: no product of these queries and keys exceeds this, [H]. Rows that are not finite do not count."""
    longest = [
        torch.nan_to_num(torch.linalg.vector_norm(x, dim=-1, dtype=torch.float32), 0.0, 0.0).amax(2)
        for x in (q_BHTD, k_BGSD)
    ]
    q_BH, k_BG = longest
    product: Tensor = q_BH.reshape(*k_BG.shape, -1) * k_BG.unsqueeze(2)
    return (product * scale).flatten(1).amax(0)


def _product(q_BHMD: Tensor, k_BGSD: Tensor) -> Tensor:
    """q · k of every query with the keys of its head's group, [B, H, M, S]; the keys are not repeated."""
    q_BGRD = q_BHMD.reshape(*k_BGSD.shape[:2], -1, k_BGSD.shape[3])
    return (q_BGRD @ k_BGSD.transpose(2, 3)).reshape(*q_BHMD.shape[:3], k_BGSD.shape[2])


def _hidden(
    mask: Tensor | None, causal: bool, rows_M: Tensor, keys: int
) -> tuple[Tensor | None, Tensor | None]:
    """The bias on the sampled queries' logits, and where a key is not visible; each broadcasts to [B, H, M, S]."""
    bias = hidden = None
    if mask is not None:
        if mask.shape[2] > 1:
            mask = mask.index_select(2, rows_M)
        if mask.dtype == torch.bool:
            hidden = mask.logical_not()
        else:
            bias = mask.float()
            hidden = bias <= HIDDEN
        hidden = hidden.expand(-1, -1, len(rows_M), keys)
    if causal:
        later = torch.arange(keys, device=rows_M.device) > rows_M.unsqueeze(1)
        hidden = later.reshape(1, 1, *later.shape) if hidden is None else hidden | later
    return bias, hidden


def _first(hidden: Tensor) -> Tensor:
    """Of each sequence the first key that any of its sampled queries sees: where padding precedes it, not key 0."""
    return hidden.all(2).all(1).byte().argmin(-1)


def _four(mask: Tensor) -> Tensor:
    return mask.reshape((1,) * (4 - mask.dim()) + tuple(mask.shape))


def _part(x: Tensor, heads: Sequence[int], row: int, height: int) -> Tensor:
    """These heads and queries of what broadcasts over them."""
    x = x if x.shape[1] == 1 else x.narrow(1, heads[0], len(heads))
    return x if x.shape[2] == 1 else x.narrow(2, row, height)
