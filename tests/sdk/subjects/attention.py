"""Attention layers: the rows are sequences."""

from __future__ import annotations

import torch
from tests.sdk.subjects.subject import Given, Readings, Subject, normal, row_of

from foreshock.measure.statistics import attention

HEADS, TOKENS = 4, 12
UNIFORM = torch.rand(attention.QUERIES, generator=torch.Generator().manual_seed(0))
LEVELS = torch.tensor(attention.LEVELS)


def _draw(rows: int, g: torch.Generator) -> Given:
    """As many as are measured of a batch, whatever is asked for."""
    rows = min(rows, attention.SEQUENCES)
    return {
        "q": 2 * normal(rows, HEADS, TOKENS, 8, generator=g),
        "k": normal(rows, HEADS // 2, TOKENS, 8, generator=g),
    }


def _read(given: Given) -> Readings:
    found = attention.of_queries(given["q"], given["k"], UNIFORM, causal=True)
    return row_of(attention.series("h", HEADS), attention.layer(found, HEADS, LEVELS))


def _softmax(rows: int, g: torch.Generator) -> Given:
    return {"s": 2 * normal(min(rows, attention.SEQUENCES), HEADS, TOKENS, TOKENS, generator=g)}


def _read_softmax(given: Given) -> Readings:
    found = attention.of_logits(given["s"], UNIFORM)
    return row_of(
        attention.series("h", HEADS, bounded=False),
        attention.layer(found, HEADS, LEVELS, bounded=False),
    )


# Extremes over heads are taken of each rank's own means.
_AVERAGED = ("attention_entropy_normalized", "attention_heads_below", "attention_heads_above")

SUBJECTS = [
    Subject("attention", _draw, _read, {"q": 0, "k": 0}, halved=("q", "k"), averaged=_AVERAGED),
    Subject(
        "attention, of logits",
        _softmax,
        _read_softmax,
        {"s": 0},
        shifted=("s",),
        unshifted=("attention_logit_max",),
        halved=("s",),
        averaged=_AVERAGED,
    ),
]
