"""Attention in compiled models: one unbroken graph, read in every due step."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional

torch.set_num_threads(1)


def whole(model: nn.Module, backend: object) -> Callable[[Tensor], Tensor]:
    compiled: Callable[[Tensor], Tensor] = torch.compile(model, backend=backend, fullgraph=True)
    return compiled


def layer_by_layer(model: nn.Module, backend: object) -> Callable[[Tensor], Tensor]:
    for layer in model.layers:
        layer.compile(backend=backend, fullgraph=True)
    return model


def around_each_layer(model: nn.Module, backend: object) -> Callable[[Tensor], Tensor]:
    x = zoo.sequences().requires_grad_()
    model.layers = nn.ModuleList(
        recomputing.called_before(torch.compile(layer, backend=backend, fullgraph=True), x)
        for layer in model.layers
    )
    return model


class Wrapped(nn.Module):
    """A block around attention, as most models have it."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = zoo.Fused()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.tanh(self.attn(x))
        return y


@pytest.mark.parametrize(
    ("compiling", "make"),
    [
        (whole, lambda: zoo.Stack(Wrapped)),
        (whole, lambda: checkpointed(False, Wrapped)),
        (whole, lambda: checkpointed(True, Wrapped)),
        (
            layer_by_layer,
            lambda: zoo.Stack(Wrapped, 9),
        ),  # a recompilation for each would be refused at the eighth
        (around_each_layer, lambda: checkpointed(False, Wrapped)),
    ],
    ids=["whole", "checkpoints", "reentrant checkpoints", "layers", "layers in checkpoints"],
)
def test_one_unbroken_graph_reads_every_layer_in_every_due_step(
    compiling: Callable[[nn.Module, object], Callable[[Tensor], Tensor]], make: Callable[[], zoo.Stack]
) -> None:
    x = zoo.sequences().requires_grad_()
    counters = [CompileCounterWithBackend("aot_eager") for _ in range(2)]
    train(compiling(make(), counters[0]), x)  # how many graphs it is unwatched
    torch._dynamo.reset()
    model = make()
    twin = copy.deepcopy(model)
    recorded, eager = Recorded(every=2), Recorded()
    recorded.watch(model)
    compiled = compiling(model, counters[1])
    try:
        steps = []
        for step in range(5):
            train(compiled, x)
            values = recorded.step()
            steps += [step] if values else []
        assert steps == [0, 2, 4]
        assert (
            counters[0].frame_count == counters[1].frame_count
        )  # neither the cadence nor the layer makes a new one
        assert not torch._dynamo.utils.counters["graph_break"]
        eager.watch(twin)
        train(twin, x)
        assert values == pytest.approx(eager.step(), rel=1e-4, abs=1e-6)
    finally:
        recorded.instruments.close(0)
        eager.instruments.close(0)


def test_compiled_training_computes_what_it_computes_unwatched(recorded: Recorded) -> None:
    def run(model: nn.Module) -> None:
        torch._dynamo.reset()
        train(whole(model, "aot_eager"))

    plain, watched = outcome(run=run), outcome(recorded.watch, run=run)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))


@pytest.mark.slow
def test_the_default_compiler_keeps_the_ops_in_their_order(recorded: Recorded) -> None:
    model = zoo.Stack(Wrapped, 3)
    twin = copy.deepcopy(model)
    recorded.watch(model)
    train(whole(model, "inductor"))
    values = recorded.step()
    recorded.instruments.close(0)
    eager = Recorded()
    eager.watch(twin)
    train(twin)
    assert values == pytest.approx(eager.step(), rel=1e-4, abs=1e-6)
    eager.instruments.close(0)


def test_a_graph_that_breaks_within_attention_is_credited_all_the_same(recorded: Recorded) -> None:
    class Breaking(zoo.Attention):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.heads(x)
            torch._dynamo.graph_break()
            return self.joined(functional.scaled_dot_product_attention(q, k, v, is_causal=True))

    model = zoo.Stack(Breaking)
    recorded.watch(model)
    x = zoo.sequences(2)
    train(torch.compile(model, backend="aot_eager"), x)
    values = recorded.step()
    first = expected(model.layers[0], x, "layers.0", causal=True)
    assert {key: values[key] for key in first} == pytest.approx(first, rel=1e-4, abs=1e-6)
    assert MEDIAN.format("layers.1") in values


def test_a_softmax_of_its_own_runs_compiled_unseen_and_unbroken(
    recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    for make in (zoo.ScoresByMethod, zoo.ScoresByModule):
        torch._dynamo.reset()
        model = functools.partial(zoo.Stack, make)
        counter = CompileCounterWithBackend("aot_eager")
        run = functools.partial(lambda backend, model: train(whole(model, backend)), counter)
        plain, watched = outcome(make=model, run=run), outcome(recorded.watch, model, run)
        assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
        recorded.step()
    for _ in range(3):
        recorded.step()
    assert not [record for record in caplog.records if "nothing has been seen" in record.getMessage()]


COLD = """
import torch
from tests.zoo import attending as zoo
from foreshock.measure.instruments import Instruments
torch.set_num_threads(1)
x = zoo.sequences()
instruments = Instruments(every={"attention": 1}, on_row=lambda row: None)
models = [zoo.Stack(make) for make in (zoo.Renamed, zoo.Scores, zoo.ScoresByMethod, zoo.HiddenInTorch)]
for model in models:
    instruments.watch(model, families=["attention"])
for _ in range(2):
    for model in models:
        torch._dynamo.reset()
        assert torch.equal(torch.compile(model, backend="eager", fullgraph=True)(x), model(x))
    instruments.close(0)
"""


@pytest.mark.slow
def test_a_compiler_first_used_meanwhile_compiles_meanwhile_and_afterwards() -> None:
    """It keeps lists of torch's functions, made when it is loaded: what stands in must not be needed there, nor be missed."""
    done = subprocess.run([sys.executable, "-c", COLD], cwd=Path(__file__).parents[3], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
