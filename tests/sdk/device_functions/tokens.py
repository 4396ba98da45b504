"""What is read of logits token by token, beside the policy's row."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.statistics import entropies, linear, nucleus, tokens
from foreshock.measure.statistics.table import STATISTICS


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


def _tokens() -> dict[str, Tensor]:
    g = generator()
    return {
        "logits": torch.randn(4, 8, 30, generator=g),
        "entropy": torch.rand(32, generator=g),
        "good": (torch.rand(32, generator=g) > 0.2).float(),
        "sequence": torch.arange(32) // 8,
        "p80": torch.full((), 0.8),
        "baseline": torch.zeros(2),
    }


def _extras(given: dict[str, Tensor]) -> list[Tensor]:
    entropy, good = given["entropy"], given["good"]
    rows = nucleus.positions(32, 30, good)
    return [
        nucleus.measure(given["logits"], rows, entropy, good, entropy.mean()),
        entropies.per_sequence(entropy, good, given["sequence"], 4),
        entropies.forks(entropy, good, given["p80"], given["baseline"].clone()),
    ]


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
        "nucleus, sequences and forks",
        _tokens,
        _extras,
        [
            STATISTICS[name].series()
            for name in (*nucleus.YIELDS, "policy_entropy_per_sequence", *entropies.FORKS)
        ],
    ),
]
