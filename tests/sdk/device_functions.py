"""Every function that runs on the device, with example inputs: what the lint, the metadata and the compile tests iterate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from foreshock.measure.statistics import embedding, parameters, policy, representation
from foreshock.measure.statistics.table import STATISTICS
from foreshock.measure.statistics.tokens import LEVELS
from foreshock.series import SeriesSpec


@dataclass(frozen=True)
class DeviceFunction:
    """A statistic's computation, tensors in and tensors out, and the series that it yields."""

    name: str
    inputs: Callable[[], dict[str, Tensor]]
    run: Callable[[dict[str, Tensor]], Sequence[Tensor]]
    series: Sequence[SeriesSpec]


def generator() -> torch.Generator:
    """The same random numbers each time."""
    return torch.Generator().manual_seed(0)


def _policy(tokens: int, vocabulary: int) -> dict[str, Tensor]:
    g = generator()
    return {
        "logits": torch.randn(tokens, vocabulary, generator=g),
        "valid": torch.rand(tokens, generator=g) > 0.2,
        "levels": torch.tensor(LEVELS),
        "uniform": torch.rand(tokens, generator=g),
        "actions": torch.randint(0, vocabulary, (tokens,), generator=g),
        "old_logprobs": -torch.rand(tokens, generator=g),
        "ref_logprobs": -torch.rand(tokens, generator=g),
        "advantages": torch.randn(tokens // 8, generator=g),
        "rewards": torch.randint(0, 2, (tokens // 8,), generator=g).float(),
        "groups": torch.arange(tokens // 8) // 4,
    }


def matrix(rows: int, width: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    g = generator()
    return {
        "x": torch.randn(rows, width, generator=g).to(dtype),
        "valid": torch.rand(rows, generator=g) > 0.1,
        "uniform": torch.rand(rows, generator=g),
        "labels": torch.randint(0, 5, (rows,), generator=g),
    }


def _parameters() -> dict[str, Tensor]:
    g = generator()
    shapes = {"a.weight": (6, 4), "a.bias": (6,), "b.weight": (3, 6)}
    return {
        f"{kind}.{name}": torch.randn(*shape, generator=g)
        for kind in ("weight", "gradient", "after")
        for name, shape in shapes.items()
    }


def _grouped(given: dict[str, Tensor], kind: str) -> list[list[Tensor]]:
    return [
        [tensor for name, tensor in given.items() if name.startswith(f"{kind}.{place}.")]
        for place in ("a", "b")
    ]


def _optimiser(given: dict[str, Tensor]) -> list[Tensor]:
    weights, gradients, after = (_grouped(given, kind) for kind in ("weight", "gradient", "after"))
    return [
        parameters.norms(gradients),
        parameters.norms(weights),
        parameters.counts(gradients),
        parameters.counts(weights),
        parameters.update_ratios(parameters.samples(weights), parameters.samples(after)),
    ]


def _representation(given: dict[str, Tensor]) -> list[Tensor]:
    values, payload, _ = representation.measure(given, rows_at_most=100)
    return [values, payload]


_REPRESENTATION = [*representation.series("h", labelled=True), *representation.finished_series("h")]

DEVICE_FUNCTIONS = [
    DeviceFunction(
        "policy",
        lambda: _policy(64, 24),
        lambda given: [policy.measure({n: t for n, t in given.items() if n != "uniform"}, 1000)],
        policy.series(_policy(64, 24)),
    ),
    DeviceFunction(
        "policy, even groups",
        lambda: {
            name: tensor for name, tensor in _policy(64, 24).items() if name not in ("uniform", "groups")
        },
        lambda given: [policy.measure(given, 1000, 4)],
        policy.series(_policy(64, 24)),
    ),
    DeviceFunction(
        "policy, sampled, several chunks",
        lambda: _policy(320, 9000),
        lambda given: [policy.measure(given, 300)],
        policy.series(_policy(320, 24)),
    ),
    DeviceFunction("representation", lambda: matrix(96, 16), _representation, _REPRESENTATION),
    DeviceFunction("representation, sampled", lambda: matrix(200, 16), _representation, _REPRESENTATION),
    DeviceFunction("representation, wide", lambda: matrix(16, 96), _representation, _REPRESENTATION),
    DeviceFunction(
        "representation, beyond the columns", lambda: matrix(8, 5000), _representation, _REPRESENTATION
    ),
    DeviceFunction(
        "representation, half precision",
        lambda: matrix(96, 16, torch.bfloat16),
        _representation,
        _REPRESENTATION,
    ),
    DeviceFunction(
        "alignment",
        lambda: {
            "a": torch.randn(9, 4, generator=generator()),
            "b": torch.ones(9, 4),
            "valid": (torch.arange(9) > 2).float(),
        },
        lambda given: [embedding.alignment(given["a"], given["b"], given["valid"])],
        [STATISTICS[name].series("views") for name in embedding.ALIGNMENT],
    ),
    DeviceFunction(
        "optimiser",
        _parameters,
        _optimiser,
        [
            STATISTICS[name].series("a")
            for name in ("gradient_norm", "weight_norm", "update_ratio", "nonfinite_count")
        ],
    ),
]
