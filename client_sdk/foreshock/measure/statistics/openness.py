"""A policy's logits and the entropies of its tokens in; what the mean entropy hides out: nucleus, forks, sequences.

Shape suffixes: N measured tokens, R those looked at closely.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import entropies, linear, nucleus
from .table import STATISTICS

STATE = 2  # numbers that `measure` keeps between calls: zeros at first


def series(*, sequences: bool) -> list[SeriesSpec]:
    """What `measure` yields, in order, of logits that come as sequences or not."""
    names = [*nucleus.YIELDS, *entropies.FORKS, *(["policy_entropy_per_sequence"] if sequences else [])]
    return [STATISTICS[name].series() for name in names]


def measure(
    given: Mapping[str, Tensor],
    rows_N: Tensor | None,
    entropy_N: Tensor,
    weight_N: Tensor,
    entropy: Tensor,
    p80: Tensor,
    state_2: Tensor,
    *,
    sequences: bool,
    scale: float = 1.0,
    softcap: float | None = None,
) -> Tensor:
    """One float32 row in the order of `series`.

    ``given`` has ``logits`` [N, V] or [sequences, tokens, V], or ``hidden`` with D in place of V, ``head`` and perhaps ``bias``,
    with ``scale`` and ``softcap`` as of `linear.scan`. ``rows_N`` says which of its rows the N tokens are, None: all;
    ``entropy_N`` and ``weight_N``, 0 or 1, are theirs; ``entropy`` and ``p80``, [], the mean and a quantile of these.
    """
    entropy_N, weight_N, entropy, p80 = (x.float() for x in (entropy_N, weight_N, entropy, p80))
    good_N = weight_N * (entropy_N == entropy_N)
    hidden = "hidden" in given
    source = given["hidden"] if hidden else given["logits"]
    vocabulary = given["head"].shape[0] if hidden else source.shape[-1]
    at_R = nucleus.positions(len(entropy_N), vocabulary, entropy_N)
    rows_R = at_R if rows_N is None else rows_N.index_select(0, at_R)
    logits = source
    if hidden:
        logits = linear.logits(
            source, given["head"], rows_R, bias=given.get("bias"), scale=scale, softcap=softcap
        )
        rows_R = torch.arange(len(rows_R), device=rows_R.device)
    parts = [
        nucleus.measure(
            logits, rows_R, entropy_N.index_select(0, at_R), good_N.index_select(0, at_R), entropy
        ),
        entropies.forks(entropy_N, good_N, p80, state_2),
    ]
    if sequences:
        each = source.shape[-2]
        rows_N = torch.arange(len(entropy_N), device=source.device) if rows_N is None else rows_N
        sequence_N = torch.div(rows_N, each, rounding_mode="floor")
        parts.append(entropies.per_sequence(entropy_N, good_N, sequence_N, source.shape[0]))
    return torch.cat(parts)
