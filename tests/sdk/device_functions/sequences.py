"""Generated text, and the states of responses."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.statistics import distinction, sequences

GIVEN = ("finished", "invalid")


def _text(count: int, length: int) -> dict[str, Tensor]:
    g = generator()
    ends = torch.randint(length // 2, length + 1, (count, 1), generator=g)
    return {
        "tokens": torch.randint(0, 12, (count, length), generator=g),
        "valid": torch.arange(length) < ends,
        "finished": torch.rand(count, generator=g) > 0.3,
        "invalid": torch.rand(count, generator=g) > 0.8,
        "levels": torch.tensor([percent / 100 for percent in sequences.PERCENTILES]),
    }


def _states() -> dict[str, Tensor]:
    g = generator()
    return {
        "states": torch.randn(24, 5, 8, generator=g),
        "mask": torch.rand(24, 5, generator=g) > 0.3,
        "groups": torch.randint(0, 4, (24,), generator=g),
    }


FUNCTIONS = [
    DeviceFunction(
        "sequences",
        lambda: _text(10, 40),
        lambda given: [sequences.measure(given)],
        sequences.series("sequences", GIVEN),
    ),
    DeviceFunction(
        "sequences, more than are read",
        lambda: _text(100, 300),
        lambda given: [sequences.measure(given)],
        sequences.series("sequences", GIVEN),
    ),
    DeviceFunction(
        "responses",
        _states,
        lambda given: [
            distinction.measure(distinction.pooled(given["states"], given["mask"]), given["groups"])
        ],
        distinction.series("responses"),
    ),
    DeviceFunction(
        "cross scores",
        lambda: {
            "scores": torch.randn(12, 4, generator=generator()),
            "own": torch.arange(12) // 3,
        },
        lambda given: [distinction.information(given["scores"], given["own"])],
        distinction.scored_series("responses"),
    ),
    DeviceFunction(
        "responses, even groups",
        _states,
        lambda given: [distinction.measure(given["states"].mean(1), 6)],
        distinction.series("responses"),
    ),
]
