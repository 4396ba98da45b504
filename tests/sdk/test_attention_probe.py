"""Attention inside models: every way of writing it is seen and credited to its module, and nothing that trains is changed."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import io
import logging
import math
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from tests.zoo import attending as zoo
from tests.zoo import feedforward, huggingface, recomputing, transformers
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torch.utils import checkpoint as checkpoints

from foreshock.guard import faults
from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments
from foreshock.measure.probes import attention, attention_calls
from foreshock.measure.probes.subject import Subject
from foreshock.measure.shown import attention as shown
from foreshock.measure.statistics import attention as statistics
from foreshock.testing import recording

torch.set_num_threads(1)
ORIGINAL = functional.scaled_dot_product_attention
LEVELS = torch.tensor(statistics.LEVELS)
UNIFORM = torch.rand(statistics.QUERIES, generator=torch.Generator().manual_seed(0))
MEDIAN = "attention_entropy_normalized{{heads=median,place={}}}"


@dataclass
class Recorded:
    """Instruments for attention alone, with what they handed on."""

    every: int = 1
    rows: list[StepRow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.instruments = Instruments(every={"attention": self.every}, on_row=self.rows.append)
        self.watch = functools.partial(self.instruments.watch, families=["attention"])
        self._step = 0

    def step(self) -> dict[str, float]:
        """Close the step; what it recorded, by series key."""
        first = len(self.rows)
        self.instruments.step(self._step, 0.0)
        self._step += 1
        return {
            spec.key: value
            for row in self.rows[first:]
            for spec, value in zip(row.frame.series, row.completed().tolist(), strict=True)
        }


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No graph of another test, and torch as it was found."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()
    assert functional.scaled_dot_product_attention is ORIGINAL
    assert zoo.fused is ORIGINAL
    assert "softmax" not in vars(torch.Tensor)
    assert not attention_calls.watchers
    assert not getattr(attention_calls.entered, "modules", [])


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    made = Recorded()
    yield made
    made.instruments.close(0)


def places(model: nn.Module) -> list[str]:
    return [line.place for line in attention.plan(Subject.of(model))]


def expected(layer: zoo.Attention, x: Tensor, place: str, **options: object) -> dict[str, float]:
    """What is read of a layer, from its projections."""
    with torch.no_grad():
        q, k, _ = layer.heads(x)
        found = statistics.of_queries(q, k, UNIFORM, **options)  # type: ignore[arg-type]  # as it takes them
        row = statistics.layer(found, zoo.HEADS, LEVELS)
    return {spec.key: v for spec, v in zip(statistics.series(place, zoo.HEADS), row.tolist(), strict=True)}


def train(model: nn.Module, x: Tensor | None = None) -> None:
    model(zoo.sequences() if x is None else x).square().mean().backward()


# -- which modules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (transformers.NanoGPT, ["transformer.h.0.attn", "transformer.h.1.attn"]),
        (transformers.CausalLM, ["model.layers.0.self_attn", "model.layers.1.self_attn"]),
        (transformers.Encoder, ["encoder.layers.0.self_attn", "encoder.layers.1.self_attn"]),
        (huggingface.LlamaForCausalLM, ["model.layers.0.self_attn", "model.layers.1.self_attn"]),
        (huggingface.GPT2WithValueHead, ["transformer.h.0.attn", "transformer.h.1.attn"]),
        (
            huggingface.BertForSequenceClassification,
            ["bert.encoder.layer.0.attention.self", "bert.encoder.layer.1.attention.self"],
        ),
        (lambda: zoo.Stack(zoo.WithWeights), ["layers.0.mixer", "layers.1.mixer"]),
        (feedforward.mlp, []),
        (feedforward.ResNet, []),
    ],
)
def test_attention_is_found_by_its_parts_and_its_name(
    model: Callable[[], nn.Module], found: list[str]
) -> None:
    assert places(model()) == found


class AttentionNorm(nn.LayerNorm):
    """Does not attend, whatever it is called."""


class LinearAttention(nn.Module):
    """Given away by its name alone."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)


class AttentionBlock(nn.Module):
    """Holds attention."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.norm = AttentionNorm(4)
        self.inner = inner


class Mamba(nn.Module):
    """Projects into something else."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj, self.out_proj = nn.Linear(4, 8), nn.Linear(8, 4)


class StateAttention(Mamba):
    """The same, but it says so."""


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (AttentionBlock(LinearAttention()), ["inner"]),
        (AttentionBlock(nn.Linear(4, 4)), ["model"]),
        (AttentionBlock(zoo.Fused()), ["inner"]),
        (Mamba(), []),
        (StateAttention(), ["model"]),
    ],
    ids=["by name", "holder without", "holder with", "not attention", "vague parts, clear name"],
)
def test_of_nested_modules_the_one_that_attends_is_taken(model: nn.Module, found: list[str]) -> None:
    assert places(model) == found


def test_patterns_keep_modules_out_and_many_are_thinned_out_evenly() -> None:
    model = zoo.Stack(layers=3)
    subject = Subject.of(model, include=["layers.*"], exclude=("layers.1",))
    assert [line.place for line in attention.plan(subject)] == ["layers.0", "layers.2"]
    many = places(zoo.Stack(layers=100))
    assert len(many) == 48
    assert (many[0], many[-1]) == ("layers.0", "layers.99")


def test_a_line_says_what_it_reads_and_what_it_costs() -> None:
    (line, _) = attention.plan(Subject.of(zoo.Stack()))
    assert (line.module, line.kind, line.family) == ("Fused", "attention", "attention")
    assert line.measured == "attention: entropy, sink and logits of heads"
    assert line.series == len(statistics.series("x", zoo.HEADS))
    assert line.values == 2 * 2 * attention.KEYS * zoo.WIDTH
    assert line.operations > line.values
    (unknown, _) = attention.plan(Subject.of(transformers.NanoGPT()))
    assert unknown.series == 0  # its module does not say how many heads it has


@pytest.mark.parametrize(
    ("make", "kernel"), [(zoo.Hidden, "flash_attn_func"), (zoo.HiddenInTorch, "torch.softmax")]
)
def test_what_cannot_be_seen_is_said_in_the_table(
    make: Callable[[], nn.Module], kernel: str, recorded: Recorded
) -> None:
    model = zoo.Stack(make)
    table = recorded.watch(model)
    assert [row.measured for row in table.rows] == [
        f"attention: not visible within {kernel}; run.observe.attention shows q and k"
    ] * 2
    train(model)
    assert recorded.step() == {}
    assert functional.scaled_dot_product_attention is ORIGINAL  # nothing to stand in for


def test_tensors_are_touched_only_for_modules_that_have_a_softmax_of_their_own(recorded: Recorded) -> None:
    recorded.watch(zoo.Stack())
    assert "softmax" not in vars(torch.Tensor)
    method = torch.Tensor.softmax
    table = recorded.watch(zoo.Stack(zoo.Scores))
    assert table.rows[0].measured.endswith("in eager code")
    assert "softmax" in vars(torch.Tensor)
    assert torch.Tensor.softmax is method


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ("sdpa", "of heads"),
        ("eager", "in eager code"),
        ("flash_attention_2", "not visible within flash_attention_2"),
    ],
)
def test_the_implementation_that_a_configuration_names_is_believed(chosen: str, said: str) -> None:
    model = zoo.Stack(layers=1)
    model.layers[0].config = type("Config", (), {"_attn_implementation": chosen})()
    (line,) = attention.plan(Subject.of(model))
    assert said in line.measured


# -- what is read ----------------------------------------------------------------------------------------------------------

DISTANCE = -0.5 * (torch.arange(zoo.TOKENS) - torch.arange(zoo.TOKENS).unsqueeze(1)).abs().float()
WAYS: dict[str, tuple[Callable[[], zoo.Attention], dict[str, object]]] = {
    "torch's function": (zoo.Fused, {"causal": True}),
    "imported by name": (zoo.Renamed, {"scale": 0.3}),
    "shared keys": (zoo.Grouped, {"causal": True}),
    "bias, in a helper": (zoo.Masked, {"mask": DISTANCE}),
    "softmax as a function": (zoo.Scores, {"causal": True}),
    "softmax as a method": (zoo.ScoresByMethod, {"causal": True}),
    "softmax, heads stacked": (zoo.ScoresStacked, {"causal": True}),
    "softmax as a module": (zoo.ScoresByModule, {"causal": True}),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_it_reads_what_the_projections_say(way: str, recorded: Recorded) -> None:
    make, options = WAYS[way]
    model = zoo.Stack(make)
    recorded.watch(model)
    x = zoo.sequences(2)
    train(model, x)
    values = recorded.step()
    both = {
        **expected(model.layers[0], x, "layers.0", **options),
        **expected(model.layers[1], x + model.layers[0](x).detach(), "layers.1", **options),
    }
    if "softmax" in way:  # no queries and keys: no bound
        both = {key: value for key, value in both.items() if "bound" not in key}
    assert values == pytest.approx(both, rel=1e-4, abs=1e-6)


def test_torch_s_own_module_is_read_with_and_without_its_weights(recorded: Recorded) -> None:
    model = zoo.Stack(zoo.WithWeights, layers=1)
    recorded.watch(model)
    x = zoo.sequences(2)
    train(model, x)
    with_weights = recorded.step()
    mixer = model.layers[0].mixer
    mixer(x, x, x, need_weights=False)
    without = recorded.step()
    assert len(with_weights) == len(without) == len(statistics.series("", zoo.HEADS, bounded=False))
    assert with_weights == pytest.approx(without, rel=1e-4, abs=1e-6)
    weights = mixer(x, x, x, average_attn_weights=False)[1].detach()
    entropy = -(weights * weights.log()).sum(-1).mean()
    recorded.step()
    assert with_weights["attention_entropy{place=layers.0.mixer}"] == pytest.approx(float(entropy), rel=1e-4)


def test_all_kinds_of_models_are_read_at_every_place(recorded: Recorded) -> None:
    for number, make in enumerate(
        (
            transformers.NanoGPT,
            transformers.CausalLM,
            transformers.Encoder,
            huggingface.LlamaForCausalLM,
            huggingface.GPT2WithValueHead,
            huggingface.BertForSequenceClassification,
        ),
        1,
    ):
        model = make()
        table = recorded.watch(model)
        assert len(table.rows) == 2
        model(transformers.tokens())
        values = recorded.step()
        for row in table.rows:
            assert row.place.startswith(f"model{number}.") or number == 1
            assert 0 < values[MEDIAN.format(row.place)] <= 1
            assert "head=0" in " ".join(values)


def test_many_tokens_are_sampled_with_random_numbers_of_our_own(recorded: Recorded) -> None:
    model = zoo.Stack()
    recorded.watch(model)
    before = torch.get_rng_state()
    train(model, zoo.sequences(5, 200))
    values = recorded.step()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(math.isfinite(value) for value in values.values())


def test_the_cadence_is_kept() -> None:
    recorded = Recorded(every=3)
    model = zoo.Stack()
    recorded.watch(model)
    steps = []
    for step in range(7):
        train(model)
        if recorded.step():
            steps.append(step)
    recorded.instruments.close(0)
    assert steps == [0, 3, 6]


def test_a_module_called_twice_in_a_step_is_read_once(recorded: Recorded) -> None:
    model = zoo.Stack(layers=1)
    recorded.watch(model)
    x = zoo.sequences(2)
    for micro in (x, 3 * x):  # gradient accumulation
        train(model, micro)
    assert recorded.step() == pytest.approx(
        expected(model.layers[0], x, "layers.0", causal=True), rel=1e-4, abs=1e-6
    )


def test_generation_does_not_stand_for_training(recorded: Recorded) -> None:
    model = zoo.Stack(layers=1)
    recorded.watch(model)
    x = zoo.sequences(2)
    with torch.inference_mode():
        model(5 * x)
    values = recorded.step()  # nothing else has been seen yet
    assert values[MEDIAN.format("layers.0")] > 0
    with torch.no_grad():
        model(5 * x)
    train(model, x)
    once = recorded.step()
    assert once == pytest.approx(expected(model.layers[0], x, "layers.0", causal=True), rel=1e-4, abs=1e-6)
    with torch.no_grad():
        model(5 * x)
    assert recorded.step() == {}


def test_attention_outside_of_watched_modules_is_nobody_s(recorded: Recorded) -> None:
    watched, other = zoo.Stack(layers=1), zoo.Stack(zoo.Renamed, layers=1)
    recorded.watch(watched)
    train(other)
    functional.scaled_dot_product_attention(*torch.randn(3, 1, 2, 5, 4).unbind(0))
    torch.randn(2, 3, 4).softmax(-1)
    assert recorded.step() == {}


def test_a_step_of_generation_with_one_query_is_read(recorded: Recorded) -> None:
    class Cross(zoo.Attention):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.heads(x[:, :1], x)
            return self.joined(functional.scaled_dot_product_attention(q, k, v))

    model = Cross()
    recorded.watch(model)
    x = zoo.sequences(2)
    model(x)
    with torch.no_grad():
        q, k, _ = model.heads(x[:, :1], x)
        found = statistics.layer(statistics.of_queries(q, k, UNIFORM), zoo.HEADS, LEVELS)
    assert list(recorded.step().values()) == pytest.approx(found.tolist(), rel=1e-4, abs=1e-6)


# -- nothing that trains is changed ----------------------------------------------------------------------------------------


def outcome(
    prepare: Callable[[nn.Module], object] = lambda model: None,
    make: Callable[[], nn.Module] = zoo.Stack,
    run: Callable[[nn.Module], None] = train,
) -> list[Tensor]:
    """Output and gradients of a model that has been prepared before its only step."""
    torch.manual_seed(0)
    model = make()
    prepare(model)
    run(model)
    with torch.no_grad():
        out = model(zoo.sequences())
    return [out, *(p.grad for p in model.parameters() if p.grad is not None)]


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


def checkpointed(reentrant: bool, make: Callable[[], nn.Module] = zoo.Fused) -> zoo.Stack:
    model = zoo.Stack(make)
    model.call = lambda layer, x: checkpoints.checkpoint(layer, x, use_reentrant=reentrant)
    return model


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


# -- compiled --------------------------------------------------------------------------------------------------------------


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
    done = subprocess.run([sys.executable, "-c", COLD], cwd=Path(__file__).parents[2], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


# -- exporting, scripting, transforming ------------------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_model_does_not_carry_the_monitor(strict: bool, recorded: Recorded) -> None:
    for make in (zoo.Fused, zoo.Scores):
        model = zoo.Stack(make).eval()
        recorded.watch(model)
        program = torch.export.export(model, (zoo.sequences(),), strict=strict)
        assert "foreshock" not in str(program.graph)


def attends(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(q, k, v) + torch.softmax(q, -1) + functional.softmax(k, -1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripts_and_traces_made_meanwhile_hold_the_originals(recorded: Recorded) -> None:
    tensors = torch.randn(3, 1, 2, 5, 5).unbind(0)
    plain = attends(*tensors)
    model = zoo.Stack()
    recorded.watch(model)
    scripted = torch.jit.script(attends)
    assert torch.equal(scripted(*tensors), plain)
    assert "aten::scaled_dot_product_attention" in str(scripted.graph)
    traced = torch.jit.trace(model.eval(), zoo.sequences())
    assert "foreshock::" not in str(traced.inlined_graph)
    assert torch.equal(traced(zoo.sequences()), model(zoo.sequences()))


def test_transformations_pass_through_unseen(recorded: Recorded) -> None:
    model = zoo.Stack(layers=1)
    recorded.watch(model)
    x = zoo.sequences(2)
    parameters = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(model, parameters, (x.unsqueeze(0),)).square().mean()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    assert all(part.shape[0] == 2 for part in each.values())
    graph = make_fx(lambda x: model(x))(x)
    assert "foreshock" not in str(graph.code)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        model(torch.empty(2, 7, zoo.WIDTH))
    assert recorded.step() == {}


def test_a_copy_and_a_pickle_of_a_watched_model_are_not_watched(recorded: Recorded) -> None:
    model = zoo.Stack()
    recorded.watch(model)
    stored = io.BytesIO()
    torch.save(model.layers, stored)
    stored.seek(0)
    model.layers[0].function = functional.scaled_dot_product_attention  # kept by a module while it is ours
    twins = [copy.deepcopy(model.layers), torch.load(stored, weights_only=False)]
    assert pickle.loads(pickle.dumps(model.layers[0].function)) is functional.scaled_dot_product_attention
    for twin in twins:
        twin[0](zoo.sequences())
    assert recorded.step() == {}


# -- standing in, and aside ------------------------------------------------------------------------------------------------


def test_what_stands_in_looks_like_the_original(recorded: Recorded) -> None:
    recorded.watch(zoo.Stack())
    ours = functional.scaled_dot_product_attention
    assert ours is not ORIGINAL
    assert zoo.fused is ours  # the name in the module's own file
    assert (ours.__name__, ours.__doc__) == (ORIGINAL.__name__, ORIGINAL.__doc__)
    assert inspect.unwrap(ours) is ORIGINAL
    with pytest.raises(TypeError, match=r"missing|argument"):
        ours(torch.randn(1, 2, 3, 4))
    with pytest.raises(RuntimeError, match=r"size|shape|match"):
        ours(torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 5), torch.randn(1, 2, 3, 5))


def test_the_last_of_several_runs_puts_torch_back() -> None:
    first, second = Recorded(), Recorded()
    model = zoo.Stack()
    first.watch(model)
    second.watch(model)
    second.watch(zoo.Stack())
    ours = functional.scaled_dot_product_attention
    first.instruments.close(0)
    first.instruments.close(0)
    assert functional.scaled_dot_product_attention is ours
    train(model)
    assert MEDIAN.format("layers.0") in second.step()
    second.instruments.close(0)
    assert functional.scaled_dot_product_attention is ORIGINAL


def test_somebody_else_s_function_put_over_ours_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded()
    recorded.watch(zoo.Stack())
    ours = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = theirs = lambda *args, **kwargs: ours(*args, **kwargs)
    try:
        recorded.instruments.close(0)
        assert functional.scaled_dot_product_attention is theirs
        tensors = torch.randn(3, 1, 2, 5, 4).unbind(0)
        assert torch.equal(theirs(*tensors), ORIGINAL(*tensors))
    finally:
        functional.scaled_dot_product_attention = ORIGINAL


def test_a_watched_model_can_be_forgotten(recorded: Recorded) -> None:
    model = zoo.Stack()
    recorded.watch(model)
    train(model)
    recorded.step()
    alive = weakref.ref(model.layers[0])
    del model
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("fails", ["before", "after"])
@pytest.mark.parametrize("compiled", [False, True])
def test_an_exception_in_attention_leaves_nothing_behind(
    fails: str, compiled: bool, recorded: Recorded
) -> None:
    model, other = zoo.Stack(zoo.Failing), zoo.Fused()
    recorded.watch(model)
    run = torch.compile(model, backend="aot_eager") if compiled else model
    model.layers[0].fails = fails
    with pytest.raises(RuntimeError, match="out of memory"):
        run(zoo.sequences())
    recorded.step()
    other(zoo.sequences())
    assert recorded.step() == {}
    model.layers[0].fails = ""
    train(run)
    assert {MEDIAN.format("layers.0"), MEDIAN.format("layers.1")} <= set(recorded.step())


def test_a_graph_that_died_between_two_ops_is_recovered_from(recorded: Recorded) -> None:
    model = zoo.Stack()
    recorded.watch(model)
    first, second = (module._forward_pre_hooks.popitem()[1].ticket for module in model.layers)
    q, k = torch.randn(2, 1, 2, 5, 4).unbind(0)
    chain = attention_calls.chain

    def died_in(ticket: Tensor) -> None:
        attention_calls.enter(ticket, chain)

    died_in(first)
    attention_calls.enter(second, chain)  # the next graph enters another layer, and then the first again
    attention_calls.leave(chain)
    attention_calls.enter(first, chain)
    attention_calls.attend(q, k, None, True, None, chain, True)
    attention_calls.leave(chain)
    attention_calls.attend(q, k, None, True, None, chain, True)  # outside of any
    values = recorded.step()
    assert MEDIAN.format("layers.0") in values
    assert MEDIAN.format("layers.1") not in values
    died_in(second)
    train(zoo.Fused())  # eager code is in no graph
    assert recorded.step() == {}
    attention_calls.leave(chain)


def test_threads_do_not_take_each_other_s_attention(recorded: Recorded) -> None:
    barrier = threading.Barrier(2)
    models = [zoo.Waiting(barrier) for _ in range(2)]
    inputs = [zoo.sequences(2), 4 * zoo.sequences(2)]
    for model in models:
        recorded.watch(model)
    threads = [threading.Thread(target=model, args=(x,)) for model, x in zip(models, inputs, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = recorded.step()
    for model, x, place in zip(models, inputs, ("model", "model2.model"), strict=True):
        reference = expected(model, x, place, causal=True)
        assert {key: values[key] for key in reference} == pytest.approx(reference, rel=1e-4, abs=1e-6)


def test_our_own_fault_does_not_reach_the_training(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("FORESHOCK_STRICT")
    model = zoo.Stack(layers=1)
    recorded.watch(model)

    def broken(*_: object, **__: object) -> Tensor:
        raise ValueError("ours")

    monkeypatch.setattr(statistics, "of_queries", broken)
    before = sum(faults().values())
    with caplog.at_level(logging.WARNING, logger="foreshock"):
        for _ in range(2):
            train(model)
            recorded.step()
    assert sum(faults().values()) == before + 1  # a place speaks its fault once, and is left alone
    assert len([record for record in caplog.records if "our fault" in record.getMessage()]) == 1


# -- shown by hand ---------------------------------------------------------------------------------------------------------


def test_a_custom_kernel_s_queries_and_keys_are_shown(recorded: Recorded) -> None:
    q, k, v = zoo.Fused().heads(zoo.sequences(2))
    sites = recorded.instruments.sites
    shown.show(sites, "mine", q, k[:, :2], causal=True, scale=0.7)
    shown.show(sites, "mine", v, v)  # the first of a step counts
    values = recorded.step()
    found = statistics.of_queries(q.detach(), k[:, :2].detach(), UNIFORM, causal=True, scale=0.7)
    row = statistics.layer(found, zoo.HEADS, LEVELS)
    specs = statistics.series("mine", zoo.HEADS)
    assert values == pytest.approx(
        {spec.key: value for spec, value in zip(specs, row.tolist(), strict=True)}, rel=1e-5
    )
    shown.show(sites, "mine", q, k, mask=torch.ones(zoo.TOKENS, dtype=torch.bool), scale=0.1, softcap=1.0)
    later = recorded.step()
    assert set(later) == set(values)
    assert later["attention_logit_max{heads=max,place=mine}"] <= 1
    shown.show(sites, "mine", q[0], k[0], exact=True)
    assert recorded.step()["attention_entropy{place=mine}"] > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([1.0], torch.randn(1, 2, 3, 4)), "q is list; pass a floating tensor"),
        ((torch.ones(1, 2, 3, 4).long(), torch.randn(1, 2, 3, 4)), "q is torch.int64; pass a floating"),
        ((torch.randn(3, 4), torch.randn(1, 2, 3, 4)), r"q has shape \[3, 4\]; pass \[sequences, heads"),
        ((torch.randn(1, 2, 3, 4), torch.randn(1, 2, 0, 4)), r"k has shape \[1, 2, 0, 4\]; pass"),
        ((torch.randn(1, 2, 3, 4), torch.randn(2, 2, 3, 4)), "pass the same sequences and the same width"),
        ((torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 5)), "pass the same sequences and the same width"),
        ((torch.randn(1, 4, 3, 4), torch.randn(1, 3, 3, 4)), r"pass heads before tokens, x.transpose"),
        (
            (torch.randn(1, 2, 3, 4), torch.randn(1, 2, 5, 4), torch.ones(3, 4)),
            r"mask has shape \[3, 4\]; pass one that broadcasts to \[1, 2, 3, 5\]",
        ),
        (
            (torch.randn(1, 2, 3, 4), torch.randn(1, 2, 5, 4), torch.ones(3, 5).int()),
            "mask is torch.int32; pass booleans",
        ),
    ],
)
def test_wrong_shapes_are_answered_with_what_to_pass(
    arguments: tuple[Tensor, ...], sentence: str, recorded: Recorded
) -> None:
    q, k, *mask = arguments
    with pytest.raises(ValueError, match=sentence):
        shown.show(recorded.instruments.sites, "mine", q, k, mask=mask[0] if mask else None)


def test_a_run_shows_attention_too() -> None:
    with recording() as made:
        made.run.observe.attention("kernel", *torch.randn(2, 2, 3, 9, 4).unbind(0), causal=True)
        made.run.step()
    assert 0 < made.columns(MEDIAN.format("kernel")).values[0] <= 1
