"""The rows of an attention layer."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.statistics import attention

HEADS = 6


def _layer(queries: int, keys: int, groups: int = HEADS, width: int = 16) -> dict[str, Tensor]:
    g = generator()
    return {
        "q": torch.randn(3, HEADS, queries, width, generator=g),
        "k": torch.randn(3, groups, keys, width, generator=g),
        "uniform": torch.rand(attention.QUERIES, generator=g),
        "levels": torch.tensor(attention.LEVELS),
        "mask": torch.rand(3, 1, queries, keys, generator=g) > 0.3,
        "bias": torch.randn(HEADS, queries, keys, generator=g),
    }


def _row(given: dict[str, Tensor], **options: object) -> list[Tensor]:
    found = attention.of_queries(given["q"], given["k"], given["uniform"], **options)  # type: ignore[arg-type]  # as it takes them
    return [attention.layer(found, HEADS, given["levels"])]


def _of_logits(given: dict[str, Tensor]) -> list[Tensor]:
    found = attention.of_logits(given["bias"].unsqueeze(0), given["uniform"])
    return [attention.layer(found, HEADS, given["levels"], bounded=False)]


_SERIES = attention.series("h.0.attn", HEADS)

FUNCTIONS = [
    DeviceFunction(
        "attention, causal, sampled", lambda: _layer(80, 80), lambda g: _row(g, causal=True), _SERIES
    ),
    DeviceFunction(
        "attention, shared keys, mask, softcap",
        lambda: _layer(40, 72, groups=2),
        lambda g: _row(g, mask=g["mask"], softcap=5.0),
        _SERIES,
    ),
    DeviceFunction(
        "attention, bias, causal",
        lambda: _layer(24, 24, groups=1),
        lambda g: _row(g, mask=g["bias"], causal=True, scale=0.5),
        _SERIES,
    ),
    DeviceFunction(
        "attention, several chunks",
        lambda: _layer(65, 16500, width=8),
        lambda g: _row(g, mask=g["mask"].narrow(2, 0, 1)),
        _SERIES,
    ),
    DeviceFunction(
        "attention, all queries by a fused kernel",
        lambda: {name: x.bfloat16() if name in ("q", "k") else x for name, x in _layer(80, 80, 3).items()},
        lambda g: _row(g, causal=True, exact=True),
        _SERIES,
    ),
    DeviceFunction(
        "attention, of logits",
        lambda: _layer(70, 70),
        _of_logits,
        attention.series("h.0.attn", HEADS, bounded=False),
    ),
]
