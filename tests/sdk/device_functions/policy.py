"""The policy's row."""

from __future__ import annotations

from collections.abc import Collection

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.statistics import policy
from foreshock.measure.statistics.policy_readings import Batch

VOCABULARY, WIDTH = 24, 6


def everything(sequences: int, length: int, vocabulary: int = VOCABULARY) -> dict[str, Tensor]:
    """All that a trainer can have, in groups of eight."""
    g = generator()
    count = sequences * length
    return {
        "logits": 2 * torch.randn(sequences, length, vocabulary, generator=g),
        "ref_logits": torch.randn(sequences, length, vocabulary, generator=g),
        "hidden": torch.randn(sequences, length, WIDTH, generator=g),
        "head": torch.randn(vocabulary, WIDTH, generator=g),
        "bias": torch.randn(vocabulary, generator=g),
        "valid": torch.rand(count, generator=g) > 0.2,
        "actions": torch.randint(0, vocabulary, (count,), generator=g),
        "logprobs": -6 * torch.rand(count, generator=g),
        "old_logprobs": -6 * torch.rand(count, generator=g),
        "ref_logprobs": -2 * torch.rand(count, generator=g),
        "rollout_logprobs": -2 * torch.rand(count, generator=g),
        "turns": torch.randint(0, 9, (count,), generator=g),
        "advantages": torch.randn(sequences, generator=g),
        "sources": torch.arange(sequences) % 2,
        "outcome": torch.randint(0, 2, (sequences,), generator=g).float(),
        "rewards": torch.randint(0, 2, (sequences,), generator=g).float(),
        "correct": torch.randint(0, 2, (sequences,), generator=g) > 0,
        "answers": torch.randint(0, 3, (sequences,), generator=g),
        "groups": torch.arange(sequences) // 8,
        "uniform": torch.rand(count, generator=g),
        "before": torch.ones(1),
    }


def constants(plan: policy.Plan) -> dict[str, Tensor]:
    """The plan's constants as tensors."""
    return {
        name: torch.as_tensor(values, dtype=dtype).reshape(shape)
        for name, (values, shape, dtype) in plan.constants.items()
    }


def planned(
    names: Collection[str], group: int | None = None, most: int = 1000, vocabulary: int = VOCABULARY
) -> policy.Plan:
    """The plan of a batch in which these tensors are given."""
    sources = ("math", "code") if "sources" in names else ()
    batch = Batch(frozenset(names), group, sequences=True, sources=sources)
    return policy.plan(policy.Inputs(batch, vocabulary, most, policy.Head(scale=0.8, softcap=20.0)))


def _function(
    name: str,
    without: Collection[str],
    size: tuple[int, int, int],
    group: int | None = None,
    most: int = 1000,
) -> DeviceFunction:
    def given() -> dict[str, Tensor]:
        return {key: tensor for key, tensor in everything(*size).items() if key not in without}

    plan = planned(given(), group, most, size[2])
    prefix = "constant "

    def inputs() -> dict[str, Tensor]:
        return {**given(), **{prefix + key: tensor for key, tensor in constants(plan).items()}}

    def run(of: dict[str, Tensor]) -> list[Tensor]:
        held = {key.removeprefix(prefix): tensor for key, tensor in of.items() if key.startswith(prefix)}
        shown = {key: tensor for key, tensor in of.items() if not key.startswith(prefix)}
        return [policy.measure(shown, plan, held, policy.see(shown, plan))]

    return DeviceFunction(name, inputs, run, plan.series)


HIDDEN, LOGITS = ("hidden", "head", "bias"), ("logits", "ref_logits")
FUNCTIONS = [
    _function("policy", (*HIDDEN, "logprobs", "uniform"), (16, 64, VOCABULARY)),
    _function(
        "policy, even groups", (*HIDDEN, "actions", "correct", "groups", "uniform"), (16, 64, VOCABULARY), 8
    ),
    _function("policy, sampled, several chunks", (*HIDDEN, "logprobs"), (16, 32, 9000), most=300),
    _function("policy, from hidden states", (*LOGITS, "logprobs", "uniform"), (16, 64, VOCABULARY)),
]
