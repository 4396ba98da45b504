"""Logits in; entropy, varentropy, top probability and log-sum-exp of every token out, in one max-centred pass.

Shape suffixes: N tokens, V vocabulary, S sampled tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from . import fused, picking
from .online import Divergence, Rooms, Sizes, Softmax

# Values of one chunk. On a CPU they and what is made of them stay in the cache; on a GPU they outlast a launch.
ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 22}

PERCENTILES = (5, 25, 50, 80, 90, 95, 99)
YIELDS = (
    "policy_entropy",
    "policy_varentropy",
    "policy_top1",
    "policy_lse",
    "policy_top1_above_99",
    *(f"policy_entropy_p{percentile:02d}" for percentile in PERCENTILES),
    "policy_entropy_normalized",
)


def scan(
    logits: Tensor,
    rows_S: Tensor | None = None,
    *,
    squares: bool = False,
    sizes: bool = False,
    actions: Tensor | None = None,
    columns: int | None = None,
    elements: int | None = None,
) -> Tensor:
    """Entropy, varentropy, top-1 probability and log-sum-exp per token, [4, N]; NaN for a token whose logits are NaN, +inf
    or all -inf.

    Further rows, in this order: with ``squares`` Σp² and Σp² ln p; with ``sizes`` the largest logit, the largest magnitude,
    the mean and the margin between the first and the second; with ``actions``, the index of one logit per measured token,
    that one's ln p, NaN outside the vocabulary.

    ``logits`` is [N, V], or [sequences, tokens, V] with N of both together; ``rows_S`` picks some of the N. A chunk at a
    time is copied, never the logits as a whole. A -inf logit is an impossible token.
    """
    count = picking.count(logits) if rows_S is None else rows_S.shape[0]
    if count == 0:
        kinds = 4 + 2 * squares + 4 * sizes + (actions is not None)
        return logits.new_empty((kinds, 0), dtype=torch.float32)
    if fused.suits(logits):
        found = fused.scan(logits, rows_S, count, squares=squares, sizes=sizes, actions=actions)
        if found is not None:
            return found
    merged = picking.matrix(logits)
    if merged is not None:
        logits = merged
    elif rows_S is None:
        rows_S = torch.arange(count, device=logits.device)
    parts, rooms = [], Rooms()
    for top, rows, width in _steps(logits, count, columns, elements):
        softmax, size = Softmax(rooms, squares=squares), Sizes(rooms) if sizes else None
        for chunk, owned in _chunks(logits, rows_S, top, rows, width):
            if chunk.dtype != torch.float32:
                chunk, owned = rooms.copy("x", chunk), True
            if size is not None:
                size.add(chunk)
            softmax.add(chunk, owned=owned)
        found = softmax.finish()
        if size is not None:
            bad = found.select(0, 0) != found.select(0, 0)
            found = torch.cat([found, size.finish().masked_fill(bad, math.nan)])
        parts.append(found)
    found = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
    if actions is not None:
        chosen_N = picking.entry(logits, rows_S, actions) - found.select(0, 3)
        found = torch.cat([found, chosen_N.unsqueeze(0)])
    return found


def divergence(p: Tensor, q: Tensor, rows_S: Tensor | None = None) -> Tensor:
    """KL(p ‖ q) per token from two sets of logits over one vocabulary, exact, [N]; `compare` says the rest."""
    return compare(p, q, rows_S).select(0, 0)


def compare(
    p: Tensor,
    q: Tensor,
    rows_S: Tensor | None = None,
    *,
    columns: int | None = None,
    elements: int | None = None,
) -> Tensor:
    """KL(p ‖ q), entropy of p and entropy of q per token from two sets of logits, [3, N].

    KL is inf where q excludes a token that p allows; all three are NaN where the logits of either are NaN, +inf or all
    -inf. Shapes as in `scan`, the same for both; the dtypes may differ.
    """
    count = picking.count(p) if rows_S is None else rows_S.shape[0]
    if count == 0:
        return p.new_empty((3, 0), dtype=torch.float32)
    if fused.suits(p, q):
        found = fused.compare(p, q, rows_S, count)
        if found is not None:
            return found
    both = [picking.matrix(logits) for logits in (p, q)]
    if both[0] is not None and both[1] is not None:
        p, q = both[0], both[1]
    elif rows_S is None:
        rows_S = torch.arange(count, device=p.device)
    if elements is None:
        elements = ELEMENTS[p.device.type] // 2  # twice as much is made of each
    parts, rooms = [], Rooms()
    for top, rows, width in _steps(p, count, columns, elements):
        distance = Divergence(rooms)
        chunks = zip(_chunks(p, rows_S, top, rows, width), _chunks(q, rows_S, top, rows, width), strict=True)
        for (of_p, _), (of_q, _) in chunks:
            distance.add(of_p, of_q)
        parts.append(distance.finish())
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _steps(
    logits: Tensor, count: int, columns: int | None, elements: int | None
) -> Iterator[tuple[int, int, int]]:
    """First row and number of rows of each step, and how many columns it takes at a time: whole rows where they fit."""
    elements = ELEMENTS[logits.device.type] if elements is None else elements
    width = min(logits.shape[-1], elements if columns is None else columns)
    height = max(1, elements // max(width, 1))
    for top in range(0, count, height):
        yield top, min(height, count - top), width


def _chunks(
    logits: Tensor, rows_S: Tensor | None, top: int, rows: int, width: int
) -> Iterator[tuple[Tensor, bool]]:
    """The columns of these rows in pieces, [rows, width], and whether a piece is a copy."""
    if rows_S is None:
        logits = logits.narrow(0, top, rows)
    else:
        rows_S = rows_S.narrow(0, top, rows)
    for left in range(0, logits.shape[-1], max(width, 1)):
        chunk = logits.narrow(-1, left, min(width, logits.shape[-1] - left))
        yield (chunk, False) if rows_S is None else (picking.pick(chunk, rows_S), True)
