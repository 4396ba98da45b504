"""Hidden states and the output layer's weight in; what the softmax of their logits amounts to out, the logits never held at once.

Shape suffixes: N tokens, S sampled tokens, D width, V vocabulary, C the vocabulary of one chunk.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import picking
from .online import Rooms, Softmax

# Logits of one chunk, and on a CPU also weights copied to float32. A GPU is given enough to do in one launch.
ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 24}

_half_product = getattr(torch.ops.aten.mm, "dtype", None)  # (half, half) -> float32 on CUDA, newer torch only


def scan(
    hidden: Tensor,
    weight: Tensor,
    rows_S: Tensor | None = None,
    *,
    bias: Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
    actions: Tensor | None = None,
    squares: bool = False,
    elements: int | None = None,
) -> Tensor:
    """Entropy, varentropy, top-1 probability and log-sum-exp per token; with ``squares`` also Σp² and Σp² ln p; with
    ``actions`` last ln p of these, NaN outside the vocabulary: [4 or 6 (+ 1), S], as `tokens.scan` of the same logits.

    The logits are ``scale * cap(hidden @ weight.T + bias)`` with cap(x) = ``softcap`` · tanh(x / ``softcap``) where given:
    ``scale`` is one over the sampler's temperature. ``hidden`` is [N, D], or [sequences, tokens, D] with N of both together;
    ``weight`` [V, D], ``bias`` [V], of the same device; ``rows_S`` picks some of the N, and ``actions`` has one index per
    picked row. Products are summed and kept in float32 where the device can, also of half-precision tensors. A chunk of
    the vocabulary is held at a time: at most ``elements`` logits, and as many weights where those have to be copied.
    """
    count = picking.count(hidden) if rows_S is None else rows_S.shape[0]
    kinds = 4 + 2 * squares
    if count == 0:
        return hidden.new_empty((kinds + (actions is not None), 0), dtype=torch.float32)
    hidden_SD = picking.rows(hidden) if rows_S is None else picking.pick(hidden, rows_S)
    if not _multiplies(hidden_SD, weight):
        hidden_SD = hidden_SD.float()
    if elements is None:
        elements = ELEMENTS[hidden.device.type]
    vocabulary = weight.shape[0]
    width = max(1, min(vocabulary, elements // max(count, hidden.shape[-1], 1)))
    softmax = Softmax(Rooms(), squares=squares)
    chosen_S = None
    if actions is not None:
        chosen_S = torch.full_like(actions, math.nan, dtype=torch.float32)
    for left in range(0, vocabulary, width):
        size = min(width, vocabulary - left)
        logits_SC = _product(hidden_SD, weight.narrow(0, left, size))
        bias_C = None if bias is None else bias.narrow(0, left, size)
        logits_SC = _scaled(logits_SC, bias_C, scale, softcap)
        if actions is not None and chosen_S is not None:
            column_S = actions - left
            outside_S = (column_S < 0) | (column_S >= size)
            value_S = logits_SC.gather(1, column_S.clamp(0, size - 1).long().unsqueeze(1)).squeeze(1)
            chosen_S = chosen_S.where(outside_S, value_S)
        softmax.add(logits_SC, owned=True)
    found = softmax.finish()
    return found if chosen_S is None else torch.cat([found, (chosen_S - found.select(0, 3)).unsqueeze(0)])


def logits(
    hidden: Tensor,
    weight: Tensor,
    rows_R: Tensor,
    *,
    bias: Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
) -> Tensor:
    """The logits of a few rows, [R, V] in float32; arguments as of `scan`."""
    hidden_RD = picking.pick(hidden, rows_R)
    if not _multiplies(hidden_RD, weight):
        hidden_RD = hidden_RD.float()
    return _scaled(_product(hidden_RD, weight), bias, scale, softcap)


def _scaled(logits_SC: Tensor, bias_C: Tensor | None, scale: float, softcap: float | None) -> Tensor:
    """What is made of the products, in place."""
    if bias_C is not None:
        logits_SC.add_(bias_C)
    if softcap is not None:
        logits_SC.div_(softcap).tanh_().mul_(softcap)
    return logits_SC.mul_(scale) if scale != 1.0 else logits_SC


def _multiplies(hidden_SD: Tensor, weight_VD: Tensor) -> bool:
    """True where the device multiplies the two as they are, and returns the float32 sums unrounded."""
    half = weight_VD.dtype in (torch.bfloat16, torch.float16)
    return half and weight_VD.is_cuda and hidden_SD.dtype == weight_VD.dtype and _half_product is not None


def _product(hidden_SD: Tensor, weight_CD: Tensor) -> Tensor:
    """hidden @ weight.T in float32, a tensor of its own."""
    if _half_product is not None and _multiplies(hidden_SD, weight_CD):
        product: Tensor = _half_product(hidden_SD, weight_CD.t(), torch.float32)
        return product
    return hidden_SD.float() @ weight_CD.float().t()
