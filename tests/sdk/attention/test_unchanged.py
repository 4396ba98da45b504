"""Outputs and gradients of models whose attention is watched are the same bit for bit."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from tests.sdk.attention.watching import (
    MEDIAN,
    Recorded,
    checkpointed,
    expected,
    outcome,
    train,
)
from tests.zoo import attending as zoo
from tests.zoo import recomputing
from torch import nn
from torch.utils import checkpoint as checkpoints

torch.set_num_threads(1)


@pytest.mark.parametrize(
    "make", [zoo.Fused, zoo.Grouped, zoo.Masked, zoo.ScoresByMethod, zoo.ScoresStacked, zoo.WithWeights]
)
def test_outputs_and_gradients_are_the_same_bit_for_bit(
    make: Callable[[], nn.Module], recorded: Recorded
) -> None:
    model = functools.partial(zoo.Stack, make)
    plain, watched = outcome(make=model), outcome(recorded.watch, model)
    assert len(plain) == len(watched) > 4
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert recorded.step()


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_are_read_once_and_keep_the_gradients(reentrant: bool, recorded: Recorded) -> None:
    def run(model: nn.Module) -> None:
        train(model, zoo.sequences().requires_grad_())

    make = functools.partial(checkpointed, reentrant)
    plain, watched = outcome(make=make, run=run), outcome(recorded.watch, make, run)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    torch.manual_seed(0)
    first = expected(make().layers[0], zoo.sequences(), "layers.0", causal=True)
    values = recorded.step()
    assert {key: values[key] for key in first} == pytest.approx(first, rel=1e-4, abs=1e-6)
    assert MEDIAN.format("layers.1") in values


@pytest.mark.parametrize("make", [zoo.Fused, zoo.Scores])
def test_selective_checkpointing_keeps_the_gradients(
    make: Callable[[], nn.Module], recorded: Recorded
) -> None:
    saved = [torch.ops.aten.mm.default, torch.ops.aten.bmm.default, torch.ops.aten.addmm.default]
    context = recomputing.selective(saved)

    def made() -> nn.Module:
        model = zoo.Stack(make)
        model.call = lambda layer, x: checkpoints.checkpoint(
            layer, x, use_reentrant=False, context_fn=context
        )
        return model

    plain, watched = outcome(make=made), outcome(recorded.watch, made)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert MEDIAN.format("layers.0") in recorded.step()


def test_under_autocast_the_layer_computes_as_before_and_is_read_in_float32(recorded: Recorded) -> None:
    def run(model: nn.Module) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(zoo.sequences()).square().mean()
        loss.backward()

    plain, watched = outcome(run=run), outcome(recorded.watch, run=run)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    half = recorded.step()
    torch.manual_seed(0)
    model = zoo.Stack()
    reference = expected(model.layers[0], zoo.sequences(), "layers.0", causal=True)
    key = "attention_entropy{place=layers.0}"
    assert half[key] == pytest.approx(reference[key], rel=2e-2)
    assert half[key] != reference[key]
