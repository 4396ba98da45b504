"""The policy's row."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.statistics import policy
from foreshock.measure.statistics.tokens import LEVELS


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


FUNCTIONS = [
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
]
