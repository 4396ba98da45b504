"""What is read when an optimizer steps: against numbers worked out beside it, with every optimizer that people bring."""

from __future__ import annotations

import copy
import gc
import io
import math
import pickle
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import torch
from tests.zoo import feedforward, transformers
from tests.zoo.models import loss_of, seeded
from torch import Tensor, nn
from torch.nn.utils import clip_grad, clip_grad_norm_
from torch.nn.utils.clip_grad import clip_grad_norm_ as held_already

from foreshock.config import EVERY
from foreshock.guard import faults
from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments
from foreshock.measure.probes.stepping import Steps
from foreshock.measure.statistics import gradients

torch.set_num_threads(1)


@dataclass
class Recorded:
    """Instruments with what they handed on."""

    kinds: tuple[str, ...] = ("optimiser", "moments", "gradients", "noise")
    rows: list[StepRow] = field(default_factory=list)

    def __post_init__(self) -> None:
        every = dict.fromkeys(EVERY, 0) | dict.fromkeys(self.kinds, 1)
        self.instruments = Instruments(every=every, on_row=self.rows.append)
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


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    made = Recorded()
    yield made
    made.instruments.close(0)


class Run:
    """A watched perceptron and its optimizer."""

    def __init__(
        self, recorded: Recorded, make: Callable[..., torch.optim.Optimizer], **wishes: object
    ) -> None:
        self.model = seeded(lambda: feedforward.mlp(0.0))
        self.optimizer = make(self.model.parameters(), **wishes)
        self.recorded = recorded
        recorded.instruments.watch(self.model)

    def backward(self, seed: int = 0, rows: int = 16) -> None:
        x = torch.randn(rows, 10, generator=torch.Generator().manual_seed(seed))
        loss_of(self.model(x)).backward()

    def step(self, seed: int = 0) -> dict[str, float]:
        self.optimizer.zero_grad()
        self.backward(seed)
        self.optimizer.step()
        return self.recorded.step()

    def gradient(self, *layers: int) -> Tensor:
        return flat([p.grad for i in layers or (0, 3, 6) for p in self.model[i].parameters()])


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.detach().flatten() for t in tensors]).double()


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


# -- the row ----------------------------------------------------------------------------------------------------------


def test_a_small_model_is_read_exactly(recorded: Recorded) -> None:
    run = Run(recorded, torch.optim.AdamW, lr=1e-2)
    before = flat(list(run.model.parameters()))
    values = run.step()
    gradient, after = run.gradient(), flat(list(run.model.parameters()))
    expected = {
        "gradient_norm": gradient.norm(),
        "weight_norm": before.norm(),
        "weight_rms": before.square().mean().sqrt(),
        "update_ratio": (after - before).norm() / before.norm(),
        "gradient_max": gradient.abs().max(),
        "gradient_zero_share": (gradient == 0).double().mean(),
        "gradient_weight_cosine": -cosine(gradient, before),
        "gradient_max{place=3}": run.gradient(3).abs().max(),
        "gradient_norm_ratio": 1.0,
    }
    for key, value in expected.items():
        assert values[key] == pytest.approx(float(value), rel=1e-4, abs=1e-6), key
    assert values["lost_update_share"] < 0.01


def test_the_second_step_knows_the_first(recorded: Recorded) -> None:
    run = Run(recorded, torch.optim.AdamW, lr=1e-2, betas=(0.8, 0.9))
    first = run.step(0)
    assert not [key for key in first if key.startswith(("gradient_cosine", "adam_"))]
    g1 = run.gradient()
    values = run.step(1)
    g2 = run.gradient()
    assert values["gradient_cosine"] == pytest.approx(cosine(g1, g2), abs=1e-5)
    assert values["gradient_noise_ratio"] == pytest.approx(max(0.0, 1 / cosine(g1, g2) - 1), rel=1e-4)
    assert values["gradient_momentum_cosine"] == pytest.approx(cosine(g1, g2), abs=1e-5)
    second = (0.9 * 0.1 * g1**2 + 0.1 * g2**2) / (1 - 0.9**2)
    assert values["adam_rms"] == pytest.approx(
        float((g2**2 / second.clamp_min(1e-16)).mean().sqrt()), rel=1e-4
    )
    norms = [g.norm() for g in (g1, g2)]
    assert values["gradient_norm_ratio"] == pytest.approx(float(norms[1] / norms[0]), rel=1e-4)
    assert values["nonfinite_count{place=0,tensor=momentum}"] == 0


def test_turns_are_read_at_the_step_after_a_record() -> None:
    recorded = Recorded()
    recorded.instruments.close(0)
    every = dict.fromkeys(EVERY, 0) | {"moments": 3}
    recorded.instruments = Instruments(every=every, on_row=recorded.rows.append)
    run = Run(recorded, torch.optim.SGD, lr=1e-2)
    seen = [{key.partition("{")[0] for key in run.step(step)} for step in range(7)]
    assert ["gradient_cosine" in keys for keys in seen] == [False, True, False, False, True, False, False]
    assert ["gradient_max" in keys for keys in seen] == [True, False, False, True, False, False, True]
    recorded.instruments.close(0)


def test_matrices_and_moments_are_read_whole(recorded: Recorded) -> None:
    run = Run(recorded, torch.optim.Adam, lr=1e-2)
    run.step(0)
    state = run.optimizer.state[run.model[3].weight]
    state["exp_avg_sq"][1, 2] = math.inf
    state["exp_avg"][0] = math.nan
    values = run.step(1)
    assert values["nonfinite_count{place=3,tensor=second moment}"] == 1
    assert values["nonfinite_count{place=3,tensor=momentum}"] == 16
    matrix = run.model[3].weight.grad.double()
    sizes = torch.linalg.svdvals(matrix).square()
    assert values["gradient_rank{place=3}"] == pytest.approx(
        float(sizes.sum() ** 2 / sizes.square().sum()), rel=1e-4
    )
    norms = matrix.norm(dim=1)
    assert values["dormant_gradient_share{place=3}"] == float((norms <= 0.025 * norms.mean()).double().mean())


def test_the_rows_of_an_embedding_are_not_units(recorded: Recorded) -> None:
    model = seeded(transformers.NanoGPT)
    recorded.instruments.watch(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loss_of(model(transformers.tokens())).backward()
    optimizer.step()
    places = {key for key in recorded.step() if key.startswith("gradient_rank")}
    assert "gradient_rank{place=transformer.h.0}" in places
    assert "gradient_rank{place=transformer.wte}" not in places


# -- whatever people bring --------------------------------------------------------------------------------------------


def lion(parameters: object) -> torch.optim.Optimizer:
    """An optimizer of one's own that keeps only the first moment, and something that is not a tensor."""

    class Own(torch.optim.Optimizer):
        def __init__(self, parameters: object) -> None:
            super().__init__(parameters, {"lr": 1e-3, "betas": (0.9, 0.99)})  # type: ignore[arg-type]

        @torch.no_grad()
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        state = self.state[p]
                        state.setdefault("exp_avg", torch.zeros_like(p)).lerp_(p.grad, 0.1)
                        state["note"] = "mine"
                        p.sub_(state["exp_avg"].sign(), alpha=group["lr"])

    return Own(parameters)


OPTIMIZERS: dict[str, Callable[[object], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 1e-2),
    "momentum": lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-2),
    "adamw foreach": lambda p: torch.optim.AdamW(p, 1e-2, foreach=True),
    "adamw fused": lambda p: torch.optim.AdamW(p, 1e-2, fused=True),
    "adam amsgrad": lambda p: torch.optim.Adam(p, 1e-2, amsgrad=True),
    "adam without epsilon": lambda p: torch.optim.Adam(p, 1e-2, eps=0.0),
    "nadam": lambda p: torch.optim.NAdam(p, 1e-2),
    "adafactor": lambda p: getattr(torch.optim, "Adafactor", torch.optim.Adagrad)(p, 1e-2),
    "adagrad": lambda p: torch.optim.Adagrad(p, 1e-2),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 1e-2),
    "lion": lion,
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_training_is_the_same_bit_for_bit_with_every_optimizer(kind: str, recorded: Recorded) -> None:
    def train(watched: Recorded | None) -> tuple[list[Tensor], list[dict[str, float]]]:
        model = seeded(lambda: feedforward.mlp(0.2))
        optimizer = OPTIMIZERS[kind](model.parameters())
        if watched is not None:
            watched.instruments.watch(model)
        readings = []
        for step in range(4):
            optimizer.zero_grad()
            for micro in range(2):
                x = torch.randn(16, 10, generator=torch.Generator().manual_seed(10 * step + micro))
                loss_of(model(x)).backward()
            clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            if watched is not None:
                readings.append(watched.step())
        return [p.detach().clone() for p in model.parameters()], readings

    plain, _ = train(None)
    weights, readings = train(recorded)
    assert all(torch.equal(a, b) for a, b in zip(weights, plain, strict=True))
    last = {key.partition("{")[0] for key in readings[-1]}
    assert {"gradient_norm", "gradient_cosine", "gradient_rank", "gradient_noise_scale"} <= last
    assert {"gradient_norm_before_clipping", "lost_update_share"} <= last
    assert ("adam_rms" in last) == (kind.startswith("adam") or kind == "nadam")
    assert not [key for key, value in readings[-1].items() if math.isnan(value)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_parameters_of_any_type(dtype: torch.dtype, recorded: Recorded) -> None:
    model = seeded(lambda: feedforward.mlp(0.0)).to(dtype)
    recorded.instruments.watch(model)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5, eps=1e-4, weight_decay=0.0)
    for step in range(3):
        optimizer.zero_grad()
        loss_of(model(feedforward.features().to(dtype))).backward()
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.step()
        values = recorded.step()
        moving = [p.grad != 0 for p in model.parameters()]
        lost = sum(
            int(((p == b) & m).sum()) for p, b, m in zip(model.parameters(), before, moving, strict=True)
        )
        expected = lost / sum(int(m.sum()) for m in moving)
        if dtype != torch.float64:  # read in float32
            assert values["lost_update_share"] == pytest.approx(expected, abs=1e-6), step
    assert (values["lost_update_share"] > 0.9) == (dtype == torch.bfloat16)
    assert math.isfinite(values["adam_rms"])


def test_nan_is_told_where_it_is_and_the_history_survives_it(recorded: Recorded) -> None:
    run = Run(recorded, torch.optim.SGD, lr=0.0)
    for step in range(3):
        run.step(step)
    run.optimizer.zero_grad()
    run.backward()
    run.model[3].weight.grad[0, 0] = math.nan
    run.model[3].weight.grad[1, 1] = math.inf
    run.optimizer.step()
    values = recorded.step()
    assert values["nonfinite_count{place=3,tensor=gradient}"] == 2
    assert math.isnan(values["gradient_max{place=3}"])
    assert math.isfinite(values["gradient_max{place=0}"])
    assert math.isnan(values["gradient_cosine{place=3}"])
    assert math.isfinite(values["gradient_cosine{place=6}"])
    with torch.no_grad():
        run.model[3].weight.copy_(torch.randn(12, 16, generator=torch.Generator().manual_seed(1)))
    run.step(0)
    values = run.step(1)
    assert math.isfinite(values["gradient_max_ratio"])
    assert math.isfinite(values["gradient_noise_ratio"])


def test_gradients_of_zero_read_zero(recorded: Recorded) -> None:
    run = Run(recorded, torch.optim.AdamW, lr=1e-2)
    for _ in range(3):
        run.optimizer.zero_grad()
        (0.0 * loss_of(run.model(feedforward.features()))).backward()
        run.optimizer.step()
        values = recorded.step()
    assert values["gradient_zero_share"] == 1
    assert values["gradient_cosine"] == values["gradient_weight_cosine"] == values["adam_rms"] == 0
    assert values["gradient_rank{place=0}"] == 0
    assert values["dormant_gradient_share{place=0}"] == values["gradient_max_ratio"] == 1
    assert not [key for key, value in values.items() if math.isnan(value)]


def test_frozen_unused_and_sparse_parameters_are_left_out(recorded: Recorded) -> None:
    model = nn.ModuleDict(
        {
            "table": nn.Embedding(20, 6, sparse=True),
            "used": nn.Linear(6, 4),
            "frozen": nn.Linear(6, 4),
            "unused": nn.Linear(6, 4),
        }
    )
    model["frozen"].requires_grad_(False)
    recorded.instruments.watch(model)
    optimizers = [
        torch.optim.SparseAdam(model["table"].parameters()),
        torch.optim.AdamW([p for name in ("used", "frozen", "unused") for p in model[name].parameters()]),
    ]
    for _ in range(2):
        h = model["table"](torch.arange(5))
        (model["used"](h) + model["frozen"](h)).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
        values = recorded.step()
    places = {key.partition("place=")[2].strip("}").partition(",")[0] for key in values if "place=" in key}
    assert places == {"used"}


def test_a_parameter_that_comes_and_goes_begins_a_new_history(recorded: Recorded) -> None:
    run = Run(recorded, torch.optim.AdamW, lr=1e-2)
    run.step(0)
    run.optimizer.zero_grad()
    run.backward(1)
    run.model[6].bias.grad = None
    run.optimizer.step()
    values = recorded.step()
    assert "gradient_cosine" not in values
    assert values["gradient_norm_ratio"] == 1
    assert "gradient_cosine" not in run.step(2)
    assert "gradient_cosine" in run.step(3)


def test_two_optimizers_have_rows_of_their_own(recorded: Recorded) -> None:
    model = seeded(lambda: feedforward.mlp(0.0))
    recorded.instruments.watch(model)
    halves = [
        torch.optim.AdamW(model[0].parameters(), 1e-3, betas=(0.9, 0.95)),
        torch.optim.SGD(model[3].parameters(), 1e-3),
    ]
    for _ in range(2):
        loss_of(model(feedforward.features())).backward()
        for optimizer in halves:
            optimizer.step()
        values = recorded.step()
    assert values["adam_rms"] == values["adam_rms{place=0}"]
    assert "gradient_max{optimizer=1,place=3}" in values
    assert "gradient_max{place=3}" not in values
    assert "gradient_cosine{optimizer=1}" in values


def test_two_models_do_not_share_a_name(recorded: Recorded) -> None:
    models = [seeded(lambda: feedforward.mlp(0.0)) for _ in range(2)]
    optimizers = [torch.optim.AdamW(model.parameters(), 1e-3) for model in models]
    for model in models:
        recorded.instruments.watch(model)
    for _ in range(2):
        for scale, model, optimizer in zip((1, 3), models, optimizers, strict=True):
            (scale * loss_of(model(feedforward.features()))).backward()
            clip_grad_norm_(model.parameters(), 1e9)
            optimizer.step()
            optimizer.zero_grad()
        before = len(recorded.rows)
        values = recorded.step()
        keys = [spec.key for row in recorded.rows[before:] for spec in row.frame.series]
        assert len(keys) == len(set(keys))
    for name in ("gradient_norm", "gradient_max", "gradient_norm_before_clipping"):
        assert values[f"{name}{{place=model2}}"] > 2 * values[name], name


def test_a_model_among_the_parameters_of_others_is_found(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, model = nn.Linear(3, 3), seeded(lambda: feedforward.mlp(0.0))
    recorded.instruments.watch(model)
    joint = torch.optim.AdamW([*other.parameters(), *model.parameters()], 1e-3)
    stranger = torch.optim.SGD(other.parameters(), 1e-3)
    looked: list[int] = []
    named = Steps.named
    monkeypatch.setattr(Steps, "named", lambda self: looked.append(1) or named(self))
    for step in range(4):
        for optimizer in (stranger, joint):
            looked.clear()
            optimizer.zero_grad()
            (other(torch.ones(2, 3)).sum() + loss_of(model(feedforward.features()))).backward()
            clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
            optimizer.step()
            if optimizer is stranger and step >= 2:
                assert not looked  # nobody searches a model in vain at every step
        values = recorded.step()
        assert values["gradient_norm"] > 0
        assert values["gradient_norm_before_clipping"] > 0


def test_a_closure_s_optimizer_is_read_with_the_gradients_that_it_has(recorded: Recorded) -> None:
    run = Run(recorded, torch.optim.LBFGS, lr=0.1, max_iter=3)

    def closure() -> Tensor:
        run.optimizer.zero_grad()
        loss = loss_of(run.model(feedforward.features()))
        loss.backward()
        return loss

    run.optimizer.step(closure)
    assert recorded.step() == {}
    run.optimizer.step(closure)
    values = recorded.step()
    assert values["gradient_norm"] > 0
    assert values["update_ratio"] > 0
    assert "gradient_noise_scale" not in values


def test_groups_with_other_constants_are_left_out_of_adam_s_row(recorded: Recorded) -> None:
    model = seeded(lambda: feedforward.mlp(0.0))
    recorded.instruments.watch(model)
    optimizer = torch.optim.AdamW(
        [
            {"params": [model[0].weight, model[3].weight]},
            {"params": [model[0].bias], "weight_decay": 0.0},
            {"params": [model[3].bias, *model[6].parameters()], "betas": (0.5, 0.6)},
        ],
        1e-3,
    )
    for step in range(2):
        optimizer.zero_grad()
        loss_of(model(feedforward.features())).backward()
        if step == 1:
            kept = [model[0].weight, model[0].bias, model[3].weight]
            gradient = flat([p.grad for p in kept])
            second = flat([optimizer.state[p]["exp_avg_sq"] for p in kept])
        optimizer.step()
        values = recorded.step()
    updated = (0.999 * second + 0.001 * gradient**2) / (1 - 0.999**2)
    assert values["adam_rms"] == pytest.approx(
        float((gradient**2 / updated.clamp_min(1e-16)).mean().sqrt()), rel=1e-4
    )
    assert "adam_rms{place=3}" in values
    assert "adam_rms{place=6}" not in values


def test_a_compiled_optimizer_step_is_read_and_computes_the_same(recorded: Recorded) -> None:
    def train(watched: Recorded | None) -> tuple[list[Tensor], list[set[str]]]:
        torch._dynamo.reset()
        model = seeded(lambda: feedforward.mlp(0.0))
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        if watched is not None:
            watched.instruments.watch(model)
        compiled = torch.compile(lambda: optimizer.step(), backend="eager")
        seen = []
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model(feedforward.features())).backward()
            compiled()
            if watched is not None:
                seen.append({key.partition("{")[0] for key in watched.step()})
        return [p.detach().clone() for p in model.parameters()], seen

    plain, _ = train(None)
    weights, seen = train(recorded)
    assert all(torch.equal(a, b) for a, b in zip(weights, plain, strict=True))
    assert all({"gradient_norm", "update_ratio", "gradient_max"} <= keys for keys in seen)
    assert "adam_rms" in seen[-1]


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_reader_that_fails_is_left_out_and_the_others_go_on(
    when: str, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def fails(*_: object) -> Tensor:
        calls.append(when)
        raise RuntimeError("ours")

    monkeypatch.setattr(gradients, "single" if when == "before" else "lost", fails)
    run = Run(recorded, torch.optim.AdamW, lr=1e-2)
    for step in range(3):
        values = run.step(step)
        assert "update_ratio" in values
        assert "gradient_rank{place=0}" in values
        assert "gradient_zero_share" not in values
    assert calls == [when]
    assert sum(faults().values()) == 1


# -- noise ------------------------------------------------------------------------------------------------------------


def micro_step(run: Run, step: int, parts: int) -> tuple[dict[str, float], Tensor]:
    """One step of several micro-batches, and each one's gradient."""
    run.optimizer.zero_grad()
    before, each = torch.zeros(1), []
    weights = [run.model[i].weight for i in (0, 3, 6)]
    for part in range(parts):
        run.backward(100 * step + part)
        now = flat([p.grad for p in weights])
        each.append(now - before)
        before = now
    run.optimizer.step()
    return run.recorded.step(), torch.stack(each)


@pytest.mark.parametrize("parts", [2, 4])
def test_the_noise_between_micro_batches(parts: int, recorded: Recorded) -> None:
    run = Run(recorded, torch.optim.SGD, lr=0.0)
    assert "gradient_noise_scale" not in micro_step(run, 0, parts)[0]  # it begins to look
    shares = []
    for step in range(1, 4):
        values, micro = micro_step(run, step, parts)
        small = float(micro.square().sum(1).mean())
        large = float(micro.mean(0).square().sum())
        shares.append((parts * large - small) / ((parts - 1) * small))
        weights = [0.99**age for age in range(len(shares))][::-1]
        signal = sum(w * s for w, s in zip(weights, shares, strict=True)) / sum(weights)
        assert values["gradient_noise_scale"] == pytest.approx(1 / signal - 1, rel=1e-3, abs=1e-6)
        assert values["micro_batches"] == parts


def test_one_backward_pass_per_step_has_no_noise_scale_and_is_soon_left_in_peace(recorded: Recorded) -> None:
    run = Run(recorded, torch.optim.SGD, lr=0.0)
    looked = []
    for step in range(40):
        run.optimizer.zero_grad()
        run.backward(step)
        (part, *_) = parts_of(run) or [None]
        looked.append(part is not None and part.calls == 1)
        run.optimizer.step()
        assert "gradient_noise_scale" not in recorded.step()
    assert [step for step, seen in enumerate(looked) if seen] == [1, 11, 31]


def parts_of(run: Run) -> list[object]:
    """What hangs at the first weight."""
    hooks = run.model[0].weight._post_accumulate_grad_hooks or {}
    return [hook.args[1] for hook in hooks.values()]


def test_gradients_that_are_only_asked_for_are_no_micro_batches(recorded: Recorded) -> None:
    run = Run(recorded, torch.optim.SGD, lr=0.0)
    micro_step(run, 0, 2)
    run.optimizer.zero_grad()
    for part in range(2):
        x = feedforward.features(8).requires_grad_()
        output = run.model(x).square().mean()
        (slope,) = torch.autograd.grad(output, x, create_graph=True)
        torch.autograd.grad(output, list(run.model.parameters()), retain_graph=True)
        (output + slope.square().sum() * (1 + part)).backward()
    run.optimizer.step()
    assert recorded.step()["micro_batches"] == 2


def test_several_updates_in_a_step_of_the_run_count_the_first(recorded: Recorded) -> None:
    run = Run(recorded, torch.optim.SGD, lr=0.0)
    micro_step(run, 0, 2)
    for part in range(3):
        run.optimizer.zero_grad()
        for micro in range(part + 2):
            run.backward(10 * part + micro)
        run.optimizer.step()
    assert recorded.step()["micro_batches"] == 2


def test_hooks_on_parameters_neither_travel_nor_stay(recorded: Recorded) -> None:
    run = Run(recorded, torch.optim.SGD, lr=0.0)
    micro_step(run, 0, 2)
    weight = run.model[0].weight
    assert weight._post_accumulate_grad_hooks
    for twin in (copy.deepcopy(run.model), pickle.loads(pickle.dumps(run.model))):
        assert not twin[0].weight._post_accumulate_grad_hooks
    torch.save(run.model, io.BytesIO())
    recorded.instruments.close(0)
    assert not weight._post_accumulate_grad_hooks
    gone = weakref.ref(run.model)
    del run, weight, twin
    gc.collect()
    assert gone() is None


# -- clipping ---------------------------------------------------------------------------------------------------------

CLIPPINGS: dict[str, Callable[[nn.Module, float], object]] = {
    "by attribute": lambda model, limit: torch.nn.utils.clip_grad_norm_(model.parameters(), limit),
    "imported before": lambda model, limit: held_already(list(model.parameters()), max_norm=limit),
    "by name": lambda model, limit: clip_grad.clip_grad_norm_(parameters=model.parameters(), max_norm=limit),
    "in two steps": lambda model, limit: torch.nn.utils.clip_grads_with_norm_(
        (p for p in model.parameters()),
        limit,
        torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]),
    ),
}


@pytest.mark.parametrize("how", CLIPPINGS)
def test_the_norm_before_clipping_is_heard(how: str, recorded: Recorded) -> None:
    if how == "in two steps" and not hasattr(torch.nn.utils, "clip_grads_with_norm_"):
        CLIPPINGS["by attribute"](nn.Linear(1, 1), 1.0)
        return
    run = Run(recorded, torch.optim.SGD, lr=1e-2)
    run.backward()
    norm = float(run.gradient().norm())
    CLIPPINGS[how](run.model, norm / 4)
    assert float(run.gradient().norm()) == pytest.approx(norm / 4, rel=1e-4)
    run.optimizer.step()
    values = recorded.step()
    assert values["gradient_norm_before_clipping"] == pytest.approx(norm, rel=1e-5)
    assert values["gradient_norm"] == pytest.approx(norm / 4, rel=1e-4)
    assert values["clipped_step_share"] == 1


def test_clipping_within_compiled_code_is_let_pass(recorded: Recorded) -> None:
    def clipped(watched: bool) -> tuple[Tensor, Tensor]:
        torch._dynamo.reset()
        model = seeded(lambda: feedforward.mlp(0.0))
        if watched:
            recorded.instruments.watch(model)
        loss_of(model(feedforward.features())).backward()
        clip = torch.compile(lambda: held_already(list(model.parameters()), 0.1), backend="eager")
        return clip(), flat([p.grad for p in model.parameters()])

    for plain, watched in zip(clipped(False), clipped(True), strict=True):
        assert torch.equal(plain, watched)


def test_every_step_between_two_records_is_heard() -> None:
    rows: list[StepRow] = []
    every = dict.fromkeys(EVERY, 0) | {"optimiser": 5}
    instruments = Instruments(every=every, on_row=rows.append)
    model = seeded(lambda: feedforward.mlp(0.0))
    instruments.watch(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    norms = []
    for step in range(6):
        optimizer.zero_grad()
        (10.0 if step == 2 else 1.0) * loss_of(model(feedforward.features()))
        ((10.0 if step == 2 else 1.0) * loss_of(model(feedforward.features()))).backward()
        norms.append(float(clip_grad_norm_(model.parameters(), 5 * norms[0] if norms else 1e9)))
        optimizer.step()
        instruments.step(step, 0.0)
    instruments.close(0)
    values = {
        spec.key: value
        for row in rows
        if row.step == 5
        for spec, value in zip(row.frame.series, row.values.tolist(), strict=True)
    }
    assert values["gradient_norm_peak"] == pytest.approx(max(norms), rel=1e-5)
    assert values["gradient_norm_before_clipping"] == pytest.approx(norms[5], rel=1e-5)
    assert values["gradient_peak_ratio"] == pytest.approx(max(norms) / norms[0], rel=1e-4)
    assert values["clipped_step_share"] == pytest.approx(1 / 5)


def clipping_stands() -> list[object]:
    """Whatever of torch's clipping could have been replaced."""
    places = (clip_grad, torch.nn.utils)
    found = [vars(place).get(name) for place in places for name in sorted(vars(place)) if "clip_grad" in name]
    return [*found, *(cell.cell_contents for cell in clip_grad.clip_grad_norm_.__closure__ or ())]


def test_the_functions_are_put_back_and_strangers_are_not_heard(recorded: Recorded) -> None:
    before, scaler = clipping_stands(), torch.amp.GradScaler.step
    run = Run(recorded, torch.optim.SGD, lr=1e-2)
    assert torch.amp.GradScaler.step is not scaler
    other = nn.Linear(3, 3)
    other(torch.ones(2, 3)).sum().backward()
    clip_grad_norm_(other.parameters(), 1.0)
    clip_grad_norm_([], 1.0)
    values = run.step()
    assert "gradient_norm_before_clipping" not in values
    second = Instruments(every={"optimiser": 1}, on_row=lambda row: None)
    second.watch(nn.Linear(3, 3))
    recorded.instruments.close(0)
    assert torch.amp.GradScaler.step is not scaler
    second.close(0)
    assert torch.amp.GradScaler.step is scaler
    assert clipping_stands() == before


def test_somebody_else_s_replacement_is_left_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    instruments = Instruments(every={"optimiser": 1}, on_row=lambda row: None)
    original = torch.amp.GradScaler.step
    instruments.watch(nn.Linear(3, 3))
    ours = torch.amp.GradScaler.step
    theirs = lambda self, *args: ours(self, *args)
    torch.amp.GradScaler.step = theirs  # type: ignore[method-assign,assignment]
    instruments.close(0)
    try:
        assert torch.amp.GradScaler.step is theirs
        model = nn.Linear(3, 3)
        scaler = torch.amp.GradScaler("cpu")
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        scaler.scale(model(torch.ones(2, 3)).sum()).backward()
        before = model.weight.detach().clone()
        scaler.step(optimizer)
        assert not torch.equal(model.weight, before)
    finally:
        torch.amp.GradScaler.step = original  # type: ignore[method-assign]


# -- loss scaling -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fused", [False, True])
def test_skipped_steps_are_counted(fused: bool) -> None:
    rows: list[StepRow] = []
    every = dict.fromkeys(EVERY, 0) | {"optimiser": 4}
    instruments = Instruments(every=every, on_row=rows.append)
    model = seeded(lambda: feedforward.mlp(0.0))
    instruments.watch(model)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=1000)
    for step in range(9):
        optimizer.zero_grad()
        loss = loss_of(model(feedforward.features()))
        scaler.scale(loss * (math.inf if step in (2, 3) else 1.0)).backward()
        scaler.step(optimizer)
        scaler.update()
        instruments.step(step, 0.0)
    instruments.close(0)
    found = {
        row.step: value
        for row in rows
        for spec, value in zip(row.frame.series, row.values.tolist(), strict=True)
        if spec.key == "skipped_step_share"
    }
    scales = {
        row.step: value
        for row in rows
        for spec, value in zip(row.frame.series, row.values.tolist(), strict=True)
        if spec.key == "loss_scale"
    }
    assert found == {0: 0.0, 4: 0.5, 8: 0.0}
    assert scales == {0: 64.0, 4: 16.0, 8: 16.0}


def test_a_scaler_that_is_off_says_nothing(recorded: Recorded) -> None:
    run = Run(recorded, torch.optim.SGD, lr=1e-2)
    run.backward()
    torch.amp.GradScaler("cpu", enabled=False).step(run.optimizer)
    assert not [key for key in recorded.step() if key.startswith(("skipped", "loss_scale"))]
