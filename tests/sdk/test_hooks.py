"""Hooks in eager mode: they record the right call, leave gradients and random numbers alone, and go without a trace."""

from __future__ import annotations

import copy
import gc
import logging
import math
import pickle
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from tests.sdk.recorded import Recorded
from tests.zoo import feedforward, recomputing, transformers
from tests.zoo.models import MODELS, loss_of, seeded
from torch import Tensor, nn
from torch.optim import optimizer as optimizer_module
from torch.utils.checkpoint import checkpoint

from foreshock.guard import faults
from foreshock.measure.shown import policy
from foreshock.measure.site import Site
from foreshock.measure.statistics import representation

torch.set_num_threads(1)


DEFAULT = {"activations": 1, "optimiser": 1}


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours fails the test."""
    monkeypatch.setenv("FORESHOCK_STRICT", "1")


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    made = Recorded(DEFAULT)
    yield made
    made.instruments.close(0)


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


@pytest.mark.parametrize("kind", MODELS)
def test_every_kind_of_model_is_measured_at_every_place_of_its_table(kind: str, recorded: Recorded) -> None:
    make, data = MODELS[kind]
    model = seeded(make)
    table = recorded.instruments.watch(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loss_of(model(data())).backward()
    optimizer.step()
    values = recorded.step()
    first = {"activations": "effective_rank{centered=true,place=", "parameters": "gradient_norm{place="}
    for row in table.rows:
        if name := first.get(row.module) or first.get(row.kind):
            assert math.isfinite(values[f"{name}{row.place}}}"]), row
        if row.module not in (
            "optimizer",
            "clip_grad_norm_",
            "GradScaler",
        ):  # what they need, this step has not
            assert any(f"place={row.place}}}" in key or f"place={row.place}," in key for key in values), row


def test_a_place_reads_what_the_module_returned(recorded: Recorded) -> None:
    model = seeded(feedforward.mlp).eval()
    recorded.instruments.watch(model)
    seen: list[Tensor] = []
    model[1].register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    model(feedforward.features())
    values = recorded.step()
    x = seen[0]
    expected, *_ = representation.measure({"x": x, "valid": torch.ones(len(x), dtype=torch.bool)})
    for spec, value in zip(representation.series("1"), expected.tolist(), strict=True):
        assert values[spec.key] == value


def test_the_cadence_is_kept_and_the_first_step_is_recorded() -> None:
    recorded = Recorded({"activations": 3, "optimiser": 100})
    model = seeded(feedforward.mlp)
    recorded.instruments.watch(model)
    steps = []
    for step in range(10):
        model(feedforward.features())
        if "n_eff{place=1}" in recorded.step():
            steps.append(step)
    recorded.instruments.close(0)
    assert steps == [0, 3, 6, 9]


def test_the_first_micro_batch_of_a_step_is_recorded(recorded: Recorded, measured: list[str]) -> None:
    model = seeded(feedforward.mlp)
    recorded.instruments.watch(model)
    for rows in (7, 9, 11):
        loss_of(model(feedforward.features(rows))).backward()
    assert recorded.step()["n_eff{place=1}"] == 7
    assert measured == ["1", "4"]


def test_a_rollout_does_not_stand_for_training(recorded: Recorded) -> None:
    model = seeded(feedforward.mlp)
    recorded.instruments.watch(model)
    for step in range(3):
        with torch.no_grad():
            model(feedforward.features(5))
        model(feedforward.features(9))
        with torch.no_grad():
            model(feedforward.features(5))
        assert recorded.step()["n_eff{place=1}"] == 9, step
    with torch.no_grad():
        model(feedforward.features(5))
    assert "n_eff{place=1}" not in recorded.step()


def test_a_model_without_gradients_is_recorded_all_the_same(recorded: Recorded) -> None:
    model = seeded(feedforward.mlp).requires_grad_(False)
    recorded.instruments.watch(model)
    for _ in range(2):
        model(feedforward.features(5))
        assert recorded.step()["n_eff{place=1}"] == 5


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_forward_passes_without_grad_mode_are_measured_and_the_next_ones_too(
    mode: Callable[[], torch.no_grad], recorded: Recorded
) -> None:
    model = seeded(feedforward.mlp)
    with mode():
        recorded.instruments.watch(model)
        model(feedforward.features(5))
    assert recorded.step()["n_eff{place=1}"] == 5
    loss_of(model(feedforward.features(9))).backward()
    assert recorded.step()["n_eff{place=1}"] == 9


# -- gradients, checkpoints, random numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_s_recomputation_is_not_recorded(
    reentrant: bool, recorded: Recorded, measured: list[str]
) -> None:
    model = seeded(lambda: transformers.NanoGPT(2, checkpointed=reentrant))
    recorded.instruments.watch(model, include=["transformer.h.*", "transformer.h.*.mlp.0"])
    inner = [name for i in (0, 1) for name in (f"transformer.h.{i}", f"transformer.h.{i}.mlp.0")]
    for _ in range(2):
        measured.clear()
        loss_of(model(transformers.tokens())).backward()
        assert sorted(measured) == sorted(inner)
        recorded.step()


def gradients(watch: Callable[[nn.Module], object] | None, context: object) -> list[Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(16, 16, bias=False),
        nn.GELU(),
        nn.Linear(16, 16, bias=False),
        nn.Dropout(0.3),
        nn.Linear(16, 16, bias=False),
    )
    if watch is not None:
        watch(model)
    x = torch.randn(16, 16, requires_grad=True)
    y = checkpoint(model, x, use_reentrant=False, context_fn=context)
    (y * y).sum().backward()
    found = [p.grad for p in model.parameters()] + [x.grad]
    return [gradient for gradient in found if gradient is not None]


def test_selective_checkpointing_keeps_the_gradients_bit_for_bit(recorded: Recorded) -> None:
    saved = [torch.ops.aten.mm.default, torch.ops.aten.addmm.default]
    context = recomputing.selective(saved)
    plain = gradients(None, context)
    watched = gradients(lambda model: recorded.instruments.watch(model, include=["*"]), context)
    assert len(plain) == len(watched) == 4
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert "effective_rank{centered=true,place=0}" in recorded.step()


def test_the_same_context_is_corrupted_by_arithmetic_in_a_hook() -> None:
    """What the test above protects from: a hook that multiplies in the forward pass only."""

    def watch(model: nn.Module) -> None:
        def hook(module: nn.Module, args: object, output: Tensor) -> None:
            if torch._C._current_graph_task_id() == -1:
                output.detach().T @ output.detach()

        model[0].register_forward_hook(hook)

    saved = [torch.ops.aten.mm.default, torch.ops.aten.addmm.default]
    context = recomputing.selective(saved)
    pairs = zip(gradients(None, context), gradients(watch, context), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_sampling_rows_leaves_the_user_s_random_numbers_alone(recorded: Recorded) -> None:
    model = seeded(feedforward.mlp)
    recorded.instruments.watch(model)
    before = torch.get_rng_state()
    with torch.no_grad():
        model.eval()(feedforward.features(representation.ROWS + 100))
    policy.show(recorded.instruments.sites, torch.zeros(9000, 3))
    values = recorded.step()
    assert values["n_eff{place=1}"] == representation.ROWS
    assert torch.equal(torch.get_rng_state(), before)


def test_two_runs_sample_the_same_rows() -> None:
    def once() -> dict[str, float]:
        recorded = Recorded(DEFAULT)
        model = seeded(feedforward.mlp).eval()
        recorded.instruments.watch(model)
        torch.manual_seed(torch.initial_seed() + 1)
        model(feedforward.features(representation.ROWS + 500))
        recorded.instruments.close(0)
        return recorded.step()

    assert once() == once()


def test_under_autocast_the_output_s_own_type_is_read_and_arithmetic_is_float32(recorded: Recorded) -> None:
    model = seeded(feedforward.FunctionalMLP)
    recorded.instruments.watch(model)
    seen: list[Tensor] = []
    model.fc2.register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(feedforward.features())
    values = recorded.step()
    assert seen[0].dtype == torch.bfloat16
    expected, *_ = representation.measure({"x": seen[0], "valid": torch.ones(len(seen[0]), dtype=torch.bool)})
    key = "participation_ratio{centered=true,place=fc2}"
    assert values[key] == expected[[s.key for s in representation.series("fc2")].index(key)].item()


# -- faults -----------------------------------------------------------------------------------------------------------


def test_a_place_that_fails_is_told_once_switched_off_and_training_goes_on(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FORESHOCK_STRICT", "0")
    model = seeded(feedforward.mlp)
    recorded.instruments.watch(model)

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(representation, "measure", broken)
    before = sum(faults().values())
    with caplog.at_level(logging.WARNING, logger="foreshock"):
        for _ in range(3):
            loss_of(model(feedforward.features())).backward()
            recorded.step()
    assert sum(faults().values()) - before == 2  # one per place
    assert len([record for record in caplog.records if "statistics of" in record.message]) <= 2
    monkeypatch.undo()
    model(feedforward.features())
    assert "n_eff{place=1}" not in recorded.step()


def test_an_output_that_the_op_cannot_take_does_not_reach_the_loop(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORESHOCK_STRICT", "0")
    model = seeded(feedforward.mlp).eval()
    recorded.instruments.watch(model)
    batched = torch.func.vmap(model)(feedforward.features(6).reshape(2, 3, 10))
    assert torch.allclose(batched.reshape(6, 3), model(feedforward.features(6)), atol=1e-6)


def test_places_that_nothing_is_seen_of_are_named_after_two_steps(
    recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    recorded.instruments.watch(
        seeded(lambda: transformers.NanoGPT(2)), include=["transformer.h.0", "**.ln_f"]
    )
    with caplog.at_level(logging.WARNING, logger="foreshock"):
        recorded.step()
        assert caplog.records == []
        recorded.step()
        recorded.step()
    assert "nothing has been seen of transformer.h.0, transformer.ln_f" in caplog.records[0].getMessage()
    assert "call watch first" in caplog.records[0].getMessage()


def test_places_of_a_slow_cadence_are_given_two_of_their_own_steps(caplog: pytest.LogCaptureFixture) -> None:
    recorded = Recorded({"activations": 1, "units": 5})
    watched = recorded.instruments.watch(seeded(lambda: transformers.NanoGPT(2)), families=["plasticity"])
    assert {row.kind for row in watched.rows} == {"units"}
    told = []
    with caplog.at_level(logging.WARNING, logger="foreshock"):
        for step in range(12):
            recorded.step()
            told += [step] * len(caplog.records)
            caplog.clear()
    assert told == [5]  # the second step that they were due in, and never again
    recorded.instruments.close(0)


def test_places_that_nothing_was_to_be_measured_of_are_not_missed(caplog: pytest.LogCaptureFixture) -> None:
    recorded = Recorded(DEFAULT)
    recorded.instruments.watch(seeded(lambda: transformers.NanoGPT(2)), families=["representation"])
    recorded.instruments.pause()
    with caplog.at_level(logging.WARNING, logger="foreshock"):
        for _ in range(4):
            recorded.step()
    assert caplog.records == []
    recorded.instruments.close(0)


# -- the optimizer ----------------------------------------------------------------------------------------------------


def test_the_optimizer_s_numbers_are_those_of_the_parameters(recorded: Recorded) -> None:
    model = seeded(feedforward.mlp)
    recorded.instruments.watch(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    loss_of(model(feedforward.features())).backward()
    first = model[0]
    gradient = torch.cat([p.grad.flatten() for p in first.parameters() if p.grad is not None])
    weight = torch.cat([p.detach().flatten().clone() for p in first.parameters()])
    optimizer.step()
    values = recorded.step()
    assert values["gradient_norm{place=0}"] == pytest.approx(gradient.norm().item(), rel=1e-6)
    assert values["weight_norm{place=0}"] == pytest.approx(weight.norm().item(), rel=1e-6)
    ratio = 0.25 * gradient.norm() / weight.norm()
    assert values["update_ratio{place=0}"] == pytest.approx(ratio.item(), rel=1e-4)
    total = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    assert values["gradient_norm"] == pytest.approx(total.item(), rel=1e-6)
    assert values["nonfinite_count{place=0,tensor=gradient}"] == 0


def test_only_the_first_step_of_the_optimizer_in_an_open_step_counts(recorded: Recorded) -> None:
    model = seeded(feedforward.mlp)
    recorded.instruments.watch(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    norms = []
    for scale in (1.0, 100.0):
        optimizer.zero_grad()
        (scale * loss_of(model(feedforward.features()))).backward()
        norms.append(
            torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm().item()
        )
        optimizer.step()
    assert recorded.step()["gradient_norm"] == pytest.approx(norms[0], rel=1e-6)


def test_non_finite_gradients_are_counted_where_they_are(recorded: Recorded) -> None:
    model = seeded(feedforward.mlp)
    recorded.instruments.watch(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    loss_of(model(feedforward.features())).backward()
    assert model[3].bias.grad is not None
    model[3].bias.grad[:5] = math.nan
    optimizer.step()
    values = recorded.step()
    assert values["nonfinite_count{place=3,tensor=gradient}"] == 5
    assert values["nonfinite_count{place=0,tensor=gradient}"] == 0
    assert math.isnan(values["gradient_norm{place=3}"])
    assert math.isfinite(values["gradient_norm{place=0}"])


def test_two_optimizers_of_one_model_are_told_apart_and_a_stranger_is_let_pass(recorded: Recorded) -> None:
    model, other = seeded(feedforward.mlp), nn.Linear(2, 2)
    recorded.instruments.watch(model)
    optimizers = [torch.optim.SGD(model[0].parameters(), 0.1), torch.optim.Adam(model[6].parameters(), 0.1)]
    stranger = torch.optim.SGD(other.parameters(), 0.1)
    loss_of(model(feedforward.features())).backward()
    other(torch.ones(1, 2)).sum().backward()
    for optimizer in (*optimizers, stranger):
        optimizer.step()
    keys = [key for key in recorded.step() if key.split("{")[0] == "gradient_norm"]
    assert keys == [
        *("gradient_norm{place=0}", "gradient_norm"),
        *("gradient_norm{optimizer=1,place=6}", "gradient_norm{optimizer=1}"),
    ]


def test_parameters_without_a_gradient_are_left_out(recorded: Recorded) -> None:
    model = seeded(feedforward.mlp)
    model[0].requires_grad_(False)
    recorded.instruments.watch(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loss_of(model(feedforward.features())).backward()
    optimizer.step()
    keys = recorded.step()
    assert "gradient_norm{place=0}" not in keys
    assert "gradient_norm{place=3}" in keys


def test_with_an_optimizer_given_only_that_one_is_read(recorded: Recorded) -> None:
    model = seeded(feedforward.mlp)
    used, ignored = (torch.optim.SGD(model.parameters(), 0.1) for _ in range(2))
    recorded.instruments.watch(model, optimizer=used)
    loss_of(model(feedforward.features())).backward()
    ignored.step()
    assert "gradient_norm" not in recorded.step()
    used.step()
    assert "gradient_norm" in recorded.step()


def test_a_second_model_s_places_have_a_prefix(recorded: Recorded) -> None:
    policy, critic = seeded(feedforward.mlp), seeded(feedforward.mlp)
    recorded.instruments.watch(policy)
    recorded.instruments.watch(critic)
    for model in (policy, critic):
        model(feedforward.features())
    keys = recorded.step()
    assert {"n_eff{place=1}", "n_eff{place=model2.1}"} <= set(keys)


def test_watching_a_model_again_adds_places_and_repeats_nothing(
    recorded: Recorded, measured: list[str]
) -> None:
    model = seeded(feedforward.mlp)
    recorded.instruments.watch(model)
    recorded.instruments.watch(torch.compile(model), include=["0", "1"])
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loss_of(model(feedforward.features())).backward()
    optimizer.step()
    keys = recorded.step()
    assert sorted(measured) == ["0", "1", "4"]
    assert "gradient_norm{place=0}" in keys
    assert not any("model2" in key for key in keys)


def test_a_wrapper_that_is_gone_does_not_take_the_probes_along(recorded: Recorded) -> None:
    model = seeded(feedforward.mlp)
    recorded.instruments.watch(torch.compile(model))
    gc.collect()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loss_of(model(feedforward.features())).backward()
    optimizer.step()
    assert {"gradient_norm", "n_eff{place=1}"} <= set(recorded.step())


def test_what_is_no_module_is_answered(recorded: Recorded) -> None:
    with pytest.raises(ValueError, match=r"watch got a dict; pass a torch\.nn\.Module"):
        recorded.instruments.watch({})


# -- leaving nothing behind -------------------------------------------------------------------------------------------


def traces(model: nn.Module) -> list[object]:
    return [
        (
            name,
            sorted(module.__dict__),
            len(module._forward_hooks),
            len(module._buffers),
            len(module._parameters),
        )
        for name, module in model.named_modules()
    ]


def test_close_leaves_no_hook_no_attribute_and_no_buffer() -> None:
    recorded = Recorded(DEFAULT)
    model = seeded(transformers.NanoGPT)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before = (traces(model), list(model.state_dict()), len(optimizer._optimizer_step_pre_hooks))
    hooks = [optimizer_module._global_optimizer_pre_hooks, optimizer_module._global_optimizer_post_hooks]
    counts = [len(registered) for registered in hooks]
    recorded.instruments.watch(model, optimizer=optimizer)
    recorded.instruments.watch(seeded(feedforward.mlp))
    loss_of(model(transformers.tokens())).backward()
    optimizer.step()
    recorded.step()
    assert traces(model) != before[0]
    recorded.instruments.close(0)
    assert (traces(model), list(model.state_dict()), len(optimizer._optimizer_step_pre_hooks)) == before
    assert [len(registered) for registered in hooks] == counts
    rows = len(recorded.rows)
    model(transformers.tokens())
    policy.show(recorded.instruments.sites, torch.zeros(4, 3))
    recorded.step()
    assert len(recorded.rows) == rows


def test_copies_and_pickles_of_a_watched_model_are_not_watched(
    recorded: Recorded, measured: list[str]
) -> None:
    model = seeded(feedforward.mlp)
    recorded.instruments.watch(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin.eval()(feedforward.features()), model.eval()(feedforward.features()))
        assert measured == ["1", "4"]  # the original's alone


def test_a_model_moved_to_another_type_is_still_measured(recorded: Recorded) -> None:
    model = seeded(feedforward.mlp)
    recorded.instruments.watch(model)
    model.to(torch.bfloat16)
    model(feedforward.features().to(torch.bfloat16))
    assert recorded.step()["nonfinite_count{place=1,tensor=activation}"] == 0


def test_a_watched_model_can_be_forgotten(recorded: Recorded) -> None:
    model = seeded(feedforward.mlp)
    recorded.instruments.watch(model)
    loss_of(model(feedforward.features())).backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    recorded.step()
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None
    other = seeded(feedforward.mlp)
    recorded.instruments.watch(other)
    other(feedforward.features())
    assert "n_eff{place=model2.1}" in recorded.step()
