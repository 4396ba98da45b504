"""Every way of training that is known to upset hooks, with every probe on: what is recorded is right, what is trained is the same.

In each row the gradients with all families watched are those without, bit for bit; under inductor, which fuses another graph, to rounding.

| way of training | tests |
|---|---|
| eager, every model of the zoo | `test_eager_training_is_the_same` |
| compiled in one graph | `test_compiled_training_is_the_same_in_one_unbroken_graph`, `test_what_autograd_s_tracer_…`, `test_inductor_…` |
| the cadence changes | `test_neither_the_cadence_nor_a_pause_recompiles_anything` |
| watched after the first compiled call | `test_hooks_that_a_compiled_graph_ignores_are_found_out` |
| checkpoints, modules inside one, early stop | `test_checkpoints_record_once[…]` |
| reentrant checkpoints | the same |
| checkpoints in a compiled graph | `test_compiled_checkpoints_record_once` |
| selective checkpoints | `test_selective_checkpoints_recompute_what_they_computed`; what it protects from: `test_hooks.py` |
| random numbers | `test_random_numbers_are_the_same` |
| autocast | `test_autocast_is_the_same_and_its_types_are_read` |
| gradients accumulated | `test_micro_batches_give_one_record` |
| CUDA graphs of inductor | `test_the_op_is_kept_out_of_cuda_graphs` (on a GPU: `tests/gpu/`) |
| torch.export | `test_exported_models_do_not_carry_the_monitor` |
| pickle, deepcopy, torch.save | `test_copies_are_silent` |
| DataParallel | `test_replicas_in_threads_give_one_record` |
| DDP: buffers broadcast, gradients averaged | `test_hooks_ranks.py`, `ddp` |
| FSDP | `test_hooks_ranks.py`, `fsdp` |
| FSDP2: local shards, nothing gathered | `test_hooks_ranks.py`, `fsdp2`, `fsdp2 watched late` |
| FSDP2 compiled | `test_hooks_ranks.py`, `fsdp2 compiled` |
| layers split over ranks (tensor parallel), no collective added | `test_hooks_ranks.py`, `tp` |
| the same compiled | `test_hooks_ranks.py`, `tp compiled` |
| the same with the sequence split between layers | `test_hooks_ranks.py`, `tp sequence`, `tp sequence compiled` |
"""

from __future__ import annotations

import copy
import functools
import io
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from tests.zoo import feedforward, huggingface, recomputing, transformers
from tests.zoo.models import MODELS, loss_of, seeded
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils import checkpoint as checkpoints

from foreshock.config import EVERY
from foreshock.measure import instruments as instruments_module
from foreshock.measure import op
from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments
from foreshock.measure.site import Site

torch.set_num_threads(1)
every_model = pytest.mark.parametrize("kind", MODELS)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No graph of another test; a fault of ours fails the test."""
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str, int]]:
    """How often each kind of each place was measured in each step."""
    counted: Counter[tuple[str, str, int]] = Counter()
    take = Site.take

    def noted(site: Site, tensors: list[Tensor], row: Tensor, trained: bool) -> None:
        counted[site.kind, site.place, site.clock.opened] += 1
        take(site, tensors, row, trained)

    monkeypatch.setattr(Site, "take", noted)
    return counted


class Watching:
    """Instruments with every probe on, at every step."""

    def __init__(self, model: nn.Module, *, every: int = 1, without: Sequence[str] = ()) -> None:
        self.rows: list[StepRow] = []
        self.read: list[dict[str, float]] = []  # of each step, by series
        self.instruments = Instruments(every=dict.fromkeys(EVERY, every), on_row=self.rows.append)
        self.table = self.instruments.watch(model, families=["all"], without=without)
        self.places = {
            (one.site.kind, one.site.place) for one in self.instruments._unseen
        }  # of forward hooks
        self._steps = 0

    def step(self) -> dict[str, float]:
        """Close the step; what came of it."""
        first = len(self.rows)
        self.instruments.step(self._steps, 0.0)
        self._steps += 1
        self.read.append(
            {
                spec.key: value
                for row in self.rows[first:]
                for spec, value in zip(row.frame.series, row.completed().tolist(), strict=True)
            }
        )
        return self.read[-1]

    def close(self) -> None:
        self.instruments.close(0)


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


Call = Callable[[nn.Module], Callable[[Tensor], object]]


def train(
    make: Callable[[], nn.Module],
    data: Callable[[], Tensor],
    *,
    watched: bool,
    through: Call = lambda model: model,
    steps: int = 2,
) -> tuple[list[Tensor], Watching | None]:
    """Some steps of AdamW; the last gradients, then the weights, and the random numbers' state."""
    model = seeded(make).train()
    watching = Watching(model) if watched else None
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    call = through(model)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(call(data())).backward()
        optimizer.step()
        if watching is not None:
            watching.step()
    if watching is not None:
        watching.close()
    return [*gradients(model), *(p.detach() for p in model.parameters()), torch.get_rng_state()], watching


def same(
    make: Callable[[], nn.Module], data: Callable[[], Tensor], through: Call = lambda model: model
) -> Watching:
    """Train without and with; the outcomes are equal bit for bit."""
    plain, _ = train(make, data, watched=False, through=through)
    torch._dynamo.reset()
    seen, watching = train(make, data, watched=True, through=through)
    assert_equal(plain, seen)
    assert watching is not None
    return watching


def assert_equal(plain: Sequence[Tensor], seen: Sequence[Tensor]) -> None:
    """Bit for bit."""
    assert plain
    assert all(torch.equal(a, b) for a, b in zip(plain, seen, strict=True))


# -- eager, compiled ----------------------------------------------------------------------------------------------------


@every_model
def test_eager_training_is_the_same(kind: str, measured: Counter[tuple[str, str, int]]) -> None:
    watching = same(*MODELS[kind])
    assert {(where, place) for where, place, _ in measured} >= watching.places
    assert set(measured.values()) == {1}


@every_model
def test_compiled_training_is_the_same_in_one_unbroken_graph(
    kind: str, measured: Counter[tuple[str, str, int]]
) -> None:
    counters = []

    def through(model: nn.Module) -> Callable[[Tensor], object]:
        counters.append(CompileCounterWithBackend("eager"))
        return torch.compile(model, backend=counters[-1], fullgraph=True, dynamic=False)

    watching = same(*MODELS[kind], through)
    assert [counter.frame_count for counter in counters] == [1, 1]
    assert not torch._dynamo.utils.counters["graph_break"]
    assert {(where, place) for where, place, _ in measured} >= watching.places


def test_what_autograd_s_tracer_makes_of_it_is_the_same(measured: Counter[tuple[str, str, int]]) -> None:
    through = functools.partial(torch.compile, backend="aot_eager", fullgraph=True, dynamic=False)
    watching = same(functools.partial(transformers.NanoGPT, 1, dropout=0.0), transformers.tokens, through)
    assert {(where, place) for where, place, _ in measured} >= watching.places


@pytest.mark.slow
def test_inductor_keeps_the_op_and_trains_as_without(measured: Counter[tuple[str, str, int]]) -> None:
    """To rounding: a tensor that is shown is kept, so what is fused around it may be something else."""
    through = functools.partial(torch.compile, fullgraph=True, dynamic=False)
    make = functools.partial(transformers.NanoGPT, 1, dropout=0.0)
    plain, _ = train(make, transformers.tokens, watched=False, through=through)
    torch._dynamo.reset()
    seen, watching = train(make, transformers.tokens, watched=True, through=through)
    for a, b in zip(plain[:-1], seen[:-1], strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)
    assert watching is not None
    assert {(where, place) for where, place, _ in measured} >= watching.places


def test_neither_the_cadence_nor_a_pause_recompiles_anything(measured: Counter[tuple[str, str, int]]) -> None:
    counter = CompileCounterWithBackend("eager")
    model = seeded(lambda: transformers.NanoGPT(2))
    watching = Watching(model, every=3)
    compiled = torch.compile(model, backend=counter, fullgraph=True, dynamic=False)
    for step in range(9):
        if step == 3:
            watching.instruments.pause()
        if step == 4:
            watching.instruments.resume()
        loss_of(compiled(transformers.tokens())).backward()
        watching.step()
    watching.close()
    assert counter.frame_count == 1
    assert sorted({step for _, _, step in measured}) == [0, 4, 7]  # what was due in the pause follows it


def test_hooks_that_a_compiled_graph_ignores_are_found_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As torch is by default; asked to look at hooks, it compiles again and sees them.
    monkeypatch.setattr(instruments_module, "guard_hooks", lambda: None)
    torch._dynamo.config.skip_nnmodule_hook_guards = True
    model = seeded(lambda: huggingface.LlamaForCausalLM(2))
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    compiled(transformers.tokens())
    # The stand-in for the attention function would make the compiler look again.
    watching = Watching(model, without=["attention"])
    with caplog.at_level(logging.WARNING, logger="foreshock"):
        for _ in range(3):
            compiled(transformers.tokens())
            watching.step()
    said = [record.getMessage() for record in caplog.records if record.name == "foreshock"]
    assert len(said) == 1
    for _, place in watching.places:
        assert place in said[0]
    torch._dynamo.reset()  # as it advises
    compiled(transformers.tokens())
    assert any(key.startswith("effective_rank") for key in watching.step())
    watching.close()


# -- checkpoints --------------------------------------------------------------------------------------------------------


def in_blocks(model: nn.Module, wrap: Callable[[nn.Module, Tensor], Tensor]) -> Callable[[Tensor], object]:
    model.call = wrap
    return model


CHECKPOINTS = {
    "early stop": {"use_reentrant": False, "early_stop": True},
    "to the end": {"use_reentrant": False, "early_stop": False},
    "reentrant": {"use_reentrant": True},
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints_record_once(kind: str, measured: Counter[tuple[str, str, int]]) -> None:
    settings = dict(CHECKPOINTS[kind])
    stop = settings.pop("early_stop", True)

    def wrap(block: nn.Module, x: Tensor) -> Tensor:
        with checkpoints.set_checkpoint_early_stop(stop):
            y: Tensor = checkpoints.checkpoint(block, x, **settings)
        return y

    watching = same(
        lambda: transformers.NanoGPT(2), transformers.tokens, lambda model: in_blocks(model, wrap)
    )
    assert {(where, place) for where, place, _ in measured} >= watching.places
    assert set(measured.values()) == {1}


def test_compiled_checkpoints_record_once(measured: Counter[tuple[str, str, int]]) -> None:
    make = functools.partial(transformers.NanoGPT, 2, dropout=0.0, checkpointed=False)
    watching = same(
        make, transformers.tokens, functools.partial(torch.compile, backend="aot_eager", dynamic=False)
    )
    assert {(where, place) for where, place, _ in measured} >= watching.places
    assert set(measured.values()) == {1}


@pytest.mark.parametrize("kind", ["nanogpt", "encoder"])
def test_selective_checkpoints_recompute_what_they_computed(
    kind: str, measured: Counter[tuple[str, str, int]]
) -> None:
    saved = [
        torch.ops.aten.mm.default,
        torch.ops.aten.addmm.default,
        torch.ops.aten.native_layer_norm.default,
    ]
    context = recomputing.selective(saved)

    def through(model: nn.Module) -> Callable[[Tensor], object]:
        return lambda tokens: checkpoints.checkpoint(
            lambda x: model(x), tokens, use_reentrant=False, context_fn=context
        )

    watching = same(*MODELS[kind], through)
    assert {(where, place) for where, place, _ in measured} >= watching.places
    assert set(measured.values()) == {1}


# -- random numbers, autocast, micro-batches ------------------------------------------------------------------------------


def test_random_numbers_are_the_same() -> None:
    """More rows than a sample holds, so that sampling has to draw; dropout and the state afterwards tell."""

    def many() -> Tensor:
        return feedforward.features(5000)

    watching = same(lambda: feedforward.mlp(0.3), many)
    assert [values["n_eff{place=1}"] for values in watching.read] == [4096.0, 4096.0]


@pytest.mark.parametrize("kind", ["gpt-2 with a value head", "mlp", "resnet"])
def test_autocast_is_the_same_and_its_types_are_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    types: set[torch.dtype] = set()
    take = Site.take

    def noted(site: Site, tensors: list[Tensor], row: Tensor, trained: bool) -> None:
        types.update(tensor.dtype for tensor in tensors)
        take(site, tensors, row, trained)
        assert row.dtype == torch.float32

    monkeypatch.setattr(Site, "take", noted)

    def through(model: nn.Module) -> Callable[[Tensor], object]:
        def call(x: Tensor) -> object:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return model(x)

        return call

    same(*MODELS[kind], through)
    assert torch.bfloat16 in types


def test_micro_batches_give_one_record(measured: Counter[tuple[str, str, int]]) -> None:
    def accumulate(watched: bool) -> tuple[list[Tensor], list[Tensor], Watching | None]:
        model = seeded(lambda: feedforward.mlp(0.3)).train()
        watching = Watching(model) if watched else None
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for rows in (7, 9, 11):
            loss_of(model(feedforward.features(rows))).backward()
        summed = gradients(model)
        optimizer.step()
        return summed, [p.detach() for p in model.parameters()], watching

    plain, plain_weights, _ = accumulate(watched=False)
    summed, weights, watching = accumulate(watched=True)
    assert_equal([*plain, *plain_weights], [*summed, *weights])
    whole = torch.cat([gradient.flatten() for gradient in summed]).norm().item()
    assert watching is not None
    values = watching.step()
    watching.close()
    assert values["n_eff{place=1}"] == 7  # the first micro-batch
    assert values["gradient_norm"] == pytest.approx(whole, rel=1e-6)  # the sum of all of them
    assert set(measured.values()) == {1}


# -- graphs, exports, copies, replicas ------------------------------------------------------------------------------------


def test_the_op_is_kept_out_of_cuda_graphs() -> None:
    wanted = [tag for tag in ("cudagraph_unsafe", "pt2_compliant_tag") if hasattr(torch.Tag, tag)]
    assert wanted
    assert {getattr(torch.Tag, tag) for tag in wanted} <= set(op.observe.tags)
    assert op.observe._schema.is_mutable  # so no compiler takes it for dead code


@pytest.mark.parametrize("kind", ["nanogpt", "encoder", "gpt-2 with a value head", "resnet"])
@pytest.mark.parametrize("strict", [True, False])
def test_exported_models_do_not_carry_the_monitor(kind: str, strict: bool) -> None:
    make, data = MODELS[kind]
    model = seeded(make).eval()
    watching = Watching(model)
    program = torch.export.export(model, (data(),), strict=strict)
    watching.close()
    assert "foreshock" not in str(program.graph)


@pytest.mark.parametrize("kind", ["gpt-2 with a value head", "bert", "resnet"])
def test_copies_are_silent(kind: str, measured: Counter[tuple[str, str, int]]) -> None:
    make, data = MODELS[kind]
    model = seeded(make).eval()
    before = list(model.state_dict())
    watching = Watching(model)
    assert list(model.state_dict()) == before
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for twin in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        expected = loss_of(model(data()))
        watching.step()
        measured.clear()
        assert torch.equal(loss_of(twin(data())), expected)
        loss_of(twin(data())).backward()
        assert not measured
    model(data())
    assert measured
    watching.close()


def test_replicas_in_threads_give_one_record() -> None:
    """What DataParallel does with several devices, on one: shallow copies of the modules, each on a thread of its own."""
    model, plain = (seeded(lambda: transformers.NanoGPT(2, dropout=0.0)) for _ in range(2))
    watching = Watching(model)
    wrapped = nn.DataParallel(model)
    for whole in (wrapped, nn.DataParallel(plain)):
        loss_of(whole(transformers.tokens())).backward()
    assert_equal(gradients(plain), gradients(model))
    assert watching.step()["n_eff{place=transformer.h.0}"] == 48

    def replica(module: nn.Module) -> nn.Module:
        twin = module._replicate_for_data_parallel()
        twin._parameters = dict(module._parameters)
        twin._modules = {name: replica(child) for name, child in module._modules.items()}
        return twin

    def in_threads(model: nn.Module) -> list[Tensor]:
        """The gradients of four replicas, called at once, added up in their order."""
        losses: dict[int, Tensor] = {}

        def call(number: int, twin: nn.Module) -> None:
            losses[number] = loss_of(twin(transformers.tokens(3 + number)))

        model.zero_grad()
        threads = [threading.Thread(target=call, args=(i, replica(model))) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in range(4):
            losses[number].backward()
        return gradients(model)

    assert_equal(in_threads(plain), in_threads(model))
    values = watching.step()
    watching.close()
    assert values["n_eff{place=transformer.h.0}"] in {8 * (3 + i) for i in range(4)}
    assert not [name for name, _ in model.named_modules() if name.startswith("module")]
    assert {
        row.place
        for row in Instruments(on_row=lambda row: None).watch(wrapped, families=["representation"]).rows
    } >= {
        "transformer.h.0",
        "transformer.h.1",
        "transformer.ln_f",
    }
