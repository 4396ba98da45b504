"""Hooks under torch.compile: one graph, no break, no recompilation; a hook that comes too late is found out."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch
from tests.zoo import feedforward, transformers
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from foreshock.measure import instruments as instruments_module
from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments
from foreshock.measure.site import Site
from foreshock.measure.statistics import representation

torch.set_num_threads(1)
WATCHED = ["transformer.h.0", "transformer.h.1", "transformer.ln_f"]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No graph of another test; a fault of ours fails the test."""
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The places whose activations were measured, in order."""
    places: list[str] = []
    take = Site.take

    def counted(site: Site, tensors: list[Tensor], row: Tensor, trained: bool) -> None:
        if site.kind == "activations":
            places.append(site.place)
        take(site, tensors, row, trained)

    monkeypatch.setattr(Site, "take", counted)
    return places


def nanogpt(checkpointed: bool | None = None) -> transformers.NanoGPT:
    torch.manual_seed(0)
    return transformers.NanoGPT(2, dropout=0.0, checkpointed=checkpointed)


def values(rows: list[StepRow]) -> dict[str, float]:
    return {
        spec.key: value
        for row in rows
        for spec, value in zip(row.frame.series, row.completed().tolist(), strict=True)
    }


def train(model: nn.Module, instruments: Instruments, steps: int) -> None:
    for step in range(steps):
        model(transformers.tokens()).square().mean().backward()
        instruments.step(step, 0.0)


def test_hooks_fire_in_every_due_step_of_one_unbroken_graph(measured: list[str]) -> None:
    rows: list[StepRow] = []
    instruments = Instruments(every={"activations": 2}, on_row=rows.append)
    model = nanogpt()
    instruments.watch(model, families=["representation"])
    counter = CompileCounterWithBackend("aot_eager")
    train(torch.compile(model, backend=counter, fullgraph=True), instruments, 6)
    instruments.close(0)
    assert measured == WATCHED * 3  # steps 0, 2, 4
    assert counter.frame_count == 1  # the cadence is asked at run time: no recompilation
    assert not torch._dynamo.utils.counters["graph_break"]

    eager_rows: list[StepRow] = []
    eager = Instruments(every={"activations": 2}, on_row=eager_rows.append)
    twin = nanogpt()
    eager.watch(twin, families=["representation"])
    train(twin, eager, 1)
    eager.close(0)
    first = [row for row in rows if row.step == 0]
    assert values(first) == pytest.approx(values(eager_rows), rel=1e-3, abs=1e-5, nan_ok=True)


@pytest.mark.slow
def test_the_default_compiler_keeps_the_op_and_its_numbers(measured: list[str]) -> None:
    rows: list[StepRow] = []
    instruments = Instruments(every={"activations": 1, "optimiser": 1000}, on_row=rows.append)
    model = feedforward.mlp(dropout=0.0)
    instruments.watch(model)
    compiled = torch.compile(model, fullgraph=True)
    for step in range(2):
        compiled(feedforward.features(40)).square().mean().backward()
        instruments.step(step, 0.0)
    instruments.close(0)
    assert measured == ["1", "4"] * 2
    read = values(rows)
    for module, place in ((model[:2], "1"), (model[:5], "4")):
        x = module(feedforward.features(40)).detach()
        expected, *_ = representation.measure({"x": x, "valid": torch.ones(40, dtype=torch.bool)})
        for spec, value in zip(representation.series(place), expected.tolist(), strict=True):
            assert read[spec.key] == pytest.approx(value, rel=1e-4, abs=1e-5, nan_ok=True), spec.key


def test_compiled_training_computes_what_it_computes_without_hooks() -> None:
    def gradients(watched: bool) -> list[Tensor]:
        torch._dynamo.reset()
        instruments = Instruments(every={"activations": 1}, on_row=lambda row: None)
        model = nanogpt()
        if watched:
            instruments.watch(model)
        train(torch.compile(model, backend="aot_eager", fullgraph=True), instruments, 2)
        instruments.close(0)
        return [p.grad for p in model.parameters() if p.grad is not None]

    assert all(torch.equal(a, b) for a, b in zip(gradients(False), gradients(True), strict=True))


def test_a_rollout_does_not_stand_for_training_in_compiled_code() -> None:
    rows: list[StepRow] = []
    instruments = Instruments(every={"activations": 1}, on_row=rows.append)
    model = nanogpt()
    instruments.watch(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=False)
    for step in range(2):
        with torch.no_grad():
            compiled(transformers.tokens(3))
        compiled(transformers.tokens(6)).square().mean().backward()
        first = len(rows)
        instruments.step(step, 0.0)
        assert values(rows[first:])["n_eff{place=transformer.h.0}"] == 6 * 8
    instruments.close(0)


def test_compiled_checkpoints_record_once(measured: list[str]) -> None:
    instruments = Instruments(every={"activations": 1}, on_row=lambda row: None)
    model = nanogpt(checkpointed=False)
    instruments.watch(model, families=["representation"])
    train(torch.compile(model, backend="aot_eager"), instruments, 2)
    instruments.close(0)
    assert sorted(measured) == sorted(WATCHED * 2)


def test_a_model_compiled_and_called_before_watch_is_found_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As torch is by default; asked to look at hooks, it compiles again and sees them.
    monkeypatch.setattr(instruments_module, "guard_hooks", lambda: None)
    torch._dynamo.config.skip_nnmodule_hook_guards = True
    instruments = Instruments(every={"activations": 1}, on_row=lambda row: None)
    model = nanogpt()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    compiled(transformers.tokens())
    instruments.watch(model, include=["transformer.h.*"])
    with caplog.at_level(logging.WARNING, logger="foreshock"):
        train(compiled, instruments, 3)
    instruments.close(0)
    said = [record.getMessage() for record in caplog.records if record.name == "foreshock"]
    assert len(said) == 1
    assert "nothing has been seen of transformer.h.0, transformer.h.1" in said[0]


def test_after_close_a_compiled_graph_runs_on_and_records_nothing(measured: list[str]) -> None:
    instruments = Instruments(every={"activations": 1}, on_row=lambda row: None)
    model = nanogpt()
    instruments.watch(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    train(compiled, instruments, 1)
    instruments.close(0)
    measured.clear()
    compiled(transformers.tokens())
    assert measured == []


@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_model_does_not_carry_the_monitor(strict: bool) -> None:
    instruments = Instruments(every={"activations": 1}, on_row=lambda row: None)
    model = nanogpt().eval()
    instruments.watch(model)
    program = torch.export.export(model, (transformers.tokens(),), strict=strict)
    instruments.close(0)
    assert "foreshock" not in str(program.graph)
