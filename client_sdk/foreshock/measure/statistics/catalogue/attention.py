"""Attention: how many keys a head looks at, and how large its logits grow."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "attention"

_ZHAI = "Zhai et al. 2023, arXiv:2303.06296 (σReparam, attention entropy collapse)"
_KEYS = "NaN when no query sees two keys: with fewer there is nothing to choose"
_SAMPLED = (
    "Measured on 64 queries of each of 2 sequences against all of their keys, in float32, before attention dropout; with"
    " bias or mask as the layer uses them. The first attention call of a module in a step is the one that is read."
)
_LOCAL = "Under tensor parallelism each rank sees its own heads and numbers them from 0; under context parallelism, its own keys."
_NEEDS = ("q", "k")

STATISTICS: tuple[Statistic, ...] = (
    Statistic(
        name="attention_entropy",
        undefined="NaN",
        family=FAMILY,
        title="Entropy of attention, mean over queries and heads",
        unit="nat",
        low=0.0,
        high=None,
        formula="mean over queries and heads of −Σ_j p_ij ln p_ij",
        source=_ZHAI,
        degenerate=_KEYS,
        healthy="falls from near ln(keys) while heads specialise, then holds its level",
        collapsed="falls towards 0 within a few hundred steps, often with the loss oscillating: every query looks at one key",
        cost="attention",
        caveats="Grows with the number of keys, so it jumps when the sequence length changes: the normalised one does not."
        " Sampling error of a head's mean with 64 queries of 2 sequences of 1024: about 0.2 % when entropies are high,"
        f" 3 % at 2 nats, 8 % near 0.3 nats. {_SAMPLED} {_LOCAL}",
        needs=_NEEDS,
        merge="mean",
        columns="mean",
    ),
    Statistic(
        name="attention_entropy_normalized",
        undefined="NaN",
        family=FAMILY,
        title="Entropy of attention over its maximum, the logarithm of the visible keys",
        unit="",
        low=0.0,
        high=1.0,
        formula="mean over queries of H_i / ln n_i, n_i the keys that query i may look at; `heads` says which of the heads,"
        " beside them a vector over the first 64 heads",
        source=f"{_ZHAI}; the division is ours. Its other side, heads that choose nothing: Jha & Reagen 2025, arXiv:2501.03489"
        " (entropic overload)",
        degenerate=f"{_KEYS}; 1 for equal logits",
        healthy="the median between 0.3 and 0.9, with some sharp heads at the bottom that stay what they are",
        collapsed="the median falls below a tenth of its level, or one head after another sinks below 0.05",
        cost="attention",
        caveats=f"Heads that copy or that rest on the first token are sharp by design: watch the change, not the level. {_SAMPLED}"
        f" {_LOCAL}",
        needs=_NEEDS,
        merge="mean",
        columns="mean",
    ),
    Statistic(
        name="attention_heads_below",
        family=FAMILY,
        title="Heads whose normalised entropy is below a level",
        unit="share",
        low=0.0,
        high=1.0,
        formula="#{heads : mean H/ln n < level} / #heads, level 0.05 and 0.10",
        source=f"{_ZHAI}; the levels are a heuristic",
        degenerate=f"{_KEYS} in any head",
        healthy="constant after the first phase of training; a few sharp heads are common",
        collapsed="climbs head by head, layer by layer",
        cost="free",
        caveats=_SAMPLED,
        needs=_NEEDS,
        merge="mean",
        columns="mean",
    ),
    Statistic(
        name="attention_heads_above",
        family=FAMILY,
        title="Heads whose normalised entropy is above 0.95",
        unit="share",
        low=0.0,
        high=1.0,
        formula="#{heads : mean H/ln n > 0.95} / #heads",
        source="Jha & Reagen 2025, arXiv:2501.03489 (entropic overload); the level is a heuristic",
        degenerate=f"{_KEYS} in any head; 1 for equal logits",
        healthy="1 at initialisation, then falling; early layers keep some",
        collapsed="stays near 1: these heads average their keys and have learnt to choose nothing",
        cost="free",
        caveats=_SAMPLED,
        needs=_NEEDS,
        merge="mean",
        columns="mean",
    ),
    Statistic(
        name="attention_sink",
        family=FAMILY,
        title="Attention on the first token, mean over queries and heads",
        unit="share",
        low=0.0,
        high=1.0,
        formula="mean of p_i1, 1 being the first key that any sampled query of the sequence may look at",
        source="Xiao et al. 2023, arXiv:2309.17453 (attention sinks)",
        degenerate=f"{_KEYS}; the mean of 1/n_i for equal logits",
        healthy="rises early in a causal language model and settles; small in encoders",
        collapsed="nears 1 in most layers: the heads rest and tokens no longer mix",
        cost="free",
        caveats=f"Padding on the left is skipped where the mask hides it. {_SAMPLED} {_LOCAL}",
        needs=_NEEDS,
        merge="mean",
        columns="mean",
    ),
    Statistic(
        name="attention_sink_share",
        family=FAMILY,
        title="Queries with more than 0.9 of their attention on the first token",
        unit="share",
        low=0.0,
        high=1.0,
        formula="#{(query, head) : p_i1 > 0.9} / #{(query, head)}",
        source="Xiao et al. 2023, arXiv:2309.17453 (attention sinks); the level is a heuristic",
        degenerate=_KEYS,
        healthy="constant after the first phase of training",
        collapsed="nears 1 together with the mean",
        cost="free",
        caveats=_SAMPLED,
        needs=_NEEDS,
        merge="mean",
        columns="mean",
    ),
    Statistic(
        name="attention_logit_spread",
        family=FAMILY,
        title="Standard deviation of a query's logits over its keys, mean over queries and heads",
        unit="",
        low=0.0,
        high=None,
        formula="mean of sqrt(Σ_j (s_ij − s̄_i)² / n_i) over the visible keys, s = scale · q·k + bias",
        source=f"{_ZHAI}: the entropy is bounded below by a function that falls exponentially in the norm of the logits, of"
        " which this is the part of one row over √n",
        degenerate=f"{_KEYS}; 0 for equal logits",
        healthy="between 0.3 and 3, slowly rising, then constant",
        collapsed="rises before the entropy falls: for logits of a normal law the entropy loses half of its square",
        cost="attention",
        caveats=f"A bias that grows with the distance (ALiBi) is part of it. {_SAMPLED}",
        needs=_NEEDS,
        merge="mean",
        columns="mean",
    ),
    Statistic(
        name="attention_logit_max",
        family=FAMILY,
        title="Largest attention logit seen",
        unit="",
        low=None,
        high=None,
        formula="max of scale · q_i·k_j + bias over the sampled queries and their visible keys; beside the largest of all"
        " heads a vector over the first 64",
        source="Dehghani et al. 2023, arXiv:2302.05442; Wortsman et al. 2023, arXiv:2309.14322; QK-clip acts at 100: Kimi K2,"
        " arXiv:2507.20534",
        degenerate=_KEYS,
        healthy="below 30 and constant, or rising ever more slowly",
        collapsed="grows exponentially past 50 towards 100 and beyond in a few heads, well before the loss diverges",
        cost="free",
        caveats="The sampled queries see between 0.75 and 1 of the true maximum: between this and the bound it lies."
        f" {_SAMPLED}",
        needs=_NEEDS,
        merge="max",
        columns="max",
    ),
    Statistic(
        name="attention_logit_bound",
        family=FAMILY,
        title="What no attention logit of the layer exceeds",
        unit="",
        low=0.0,
        high=None,
        formula="scale · max_i ‖q_i‖ · max_j ‖k_j‖ over all queries and keys of the sampled sequences, largest of the heads",
        source="Cauchy–Schwarz inequality",
        degenerate="0 for zero queries or keys; NaN when no query sees two keys",
        healthy="about two to three times the largest logit, and as constant",
        collapsed="grows with the logits; growing alone it says that single queries or keys grow",
        cost="moments",
        caveats="Of the products alone: a bias is not in it. Two to three times too large. Not known where a layer's own softmax"
        " is watched instead of its queries and keys.",
        needs=_NEEDS,
        merge="max",
        columns="max",
    ),
)
