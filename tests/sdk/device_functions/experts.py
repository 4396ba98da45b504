"""A router's row, and the pathways of tokens."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.statistics import experts, pathways

EXPERTS = 6


def _router(tokens: int, *names: str) -> dict[str, Tensor]:
    g = generator()
    everything = {
        "logits": torch.randn(tokens, EXPERTS, generator=g),
        "limits": torch.tensor(experts.limits(EXPERTS)),
        "running": torch.rand(EXPERTS, generator=g) * 100,
        "valid": torch.rand(tokens, generator=g) > 0.2,
        "chosen": torch.randint(-1, EXPERTS, (tokens, 2), generator=g),
        "tasks": torch.randint(0, experts.ROWS, (tokens,), generator=g),
        "dropped": torch.rand(tokens, 2, generator=g) > 0.9,
        "capacity": torch.tensor([20.0]),
        "uniform": torch.rand(tokens, generator=g),
    }
    return {name: everything[name] for name in ("logits", "limits", "running", *names)}


def _measure(given: dict[str, Tensor]) -> list[Tensor]:
    return list(experts.measure(given, given["running"], 2))


def _pathways(*names: str) -> dict[str, Tensor]:
    g = generator()
    everything = {
        "chosen": torch.randint(0, EXPERTS, (3, 40, 2), generator=g),
        "valid": torch.rand(40, generator=g) > 0.2,
        "embeddings": torch.randn(3, EXPERTS, 5, generator=g),
        "weights": torch.rand(3, 40, 2, generator=g),
    }
    return {name: everything[name] for name in ("chosen", *names)}


FUNCTIONS = [
    DeviceFunction("router", lambda: _router(96), _measure, experts.series("gate", EXPERTS)),
    DeviceFunction(
        "router, all that is known",
        lambda: _router(400, "valid", "chosen", "tasks", "dropped"),
        _measure,
        experts.series("gate", EXPERTS, ("tasks", "dropped")),
    ),
    DeviceFunction(
        "router, sampled",
        lambda: _router(experts.TOKENS + 50, "valid", "capacity", "uniform"),
        _measure,
        experts.series("gate", EXPERTS, ("capacity",)),
    ),
    DeviceFunction(
        "router, recomputed",
        lambda: {"x": torch.randn(7, 4, generator=generator()).bfloat16(), "weight": torch.ones(6, 4)},
        lambda given: [experts.scores(given["x"], given["weight"], None).reshape(-1)],
        [],
    ),
    DeviceFunction(
        "pathways",
        lambda: _pathways(),
        lambda given: [pathways.measure(given)],
        pathways.series("probe"),
    ),
    DeviceFunction(
        "pathways, with embeddings",
        lambda: _pathways("valid", "embeddings", "weights"),
        lambda given: [pathways.measure(given)],
        pathways.series("probe", ("embeddings",)),
    ),
]
