"""What is read of logits token by token, beside the policy's row."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.statistics import linear, openness, tokens


def _two(rows: int, vocabulary: int) -> dict[str, Tensor]:
    g = generator()
    return {
        "p": torch.randn(rows, vocabulary, generator=g),
        "q": torch.randn(rows, vocabulary, generator=g).bfloat16(),
        "rows": torch.arange(rows - 1, -1, -1),
        "actions": torch.randint(0, vocabulary, (rows,), generator=g),
    }


def _head() -> dict[str, Tensor]:
    g = generator()
    return {
        "hidden": torch.randn(3, 8, 16, generator=g),
        "weight": torch.randn(90, 16, generator=g),
        "bias": torch.randn(90, generator=g),
        "actions": torch.randint(0, 90, (5,), generator=g),
        "rows": torch.arange(5) * 3,
    }


def _tokens(shape: tuple[int, ...], measured: int) -> dict[str, Tensor]:
    g = generator()
    return {
        "logits": torch.randn(*shape, 30, generator=g),
        "hidden": torch.randn(*shape, 16, generator=g),
        "head": torch.randn(30, 16, generator=g),
        "bias": torch.randn(30, generator=g),
        "rows": torch.arange(measured - 1, -1, -1),
        "entropy": torch.rand(measured, generator=g),
        "weight": (torch.rand(measured, generator=g) > 0.2).double(),
        "p80": torch.full((), 0.8),
        "state": torch.zeros(openness.STATE),
    }


def _openness(given: dict[str, Tensor], *names: str, rows: bool) -> list[Tensor]:
    found = openness.measure(
        {name: given[name] for name in names},
        given["rows"] if rows else None,
        given["entropy"],
        given["weight"],
        given["entropy"].mean(),
        given["p80"],
        given["state"].clone(),
        sequences=given[names[0]].dim() == 3,
        softcap=3.0,
    )
    return [found]


FUNCTIONS = [
    DeviceFunction(
        "logits, everything, several chunks",
        lambda: _two(20, 300),
        lambda given: [
            row
            for logits in (given["p"], given["q"])
            for row in tokens.scan(
                logits,
                given["rows"],
                squares=True,
                sizes=True,
                actions=given["actions"],
                columns=90,
                elements=500,
            )
        ],
        [],
    ),
    DeviceFunction(
        "divergence of two policies",
        lambda: _two(20, 300),
        lambda given: list(tokens.compare(given["p"], given["q"], columns=90, elements=500)),
        [],
    ),
    DeviceFunction(
        "logits that are not made",
        _head,
        lambda given: list(
            linear.scan(
                given["hidden"],
                given["weight"],
                given["rows"],
                bias=given["bias"],
                scale=0.7,
                softcap=5.0,
                actions=given["actions"],
                squares=True,
                elements=100,
            )
        ),
        [],
    ),
    DeviceFunction(
        "openness of a policy",
        lambda: _tokens((4, 8), 32),
        lambda given: _openness(given, "logits", rows=False),
        openness.series(sequences=True),
    ),
    DeviceFunction(
        "openness of a policy, sampled",
        lambda: _tokens((4, 8), 20),
        lambda given: _openness(given, "logits", rows=True),
        openness.series(sequences=True),
    ),
    DeviceFunction(
        "openness of a policy whose logits are not made",
        lambda: _tokens((32,), 32),
        lambda given: _openness(given, "hidden", "head", "bias", rows=False),
        openness.series(sequences=False),
    ),
]
