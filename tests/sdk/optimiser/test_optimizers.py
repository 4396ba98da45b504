"""Training is the same with every optimizer that people bring, and each is read."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tests.sdk.optimiser.running import Run, flat, needs
from tests.sdk.recorded import Recorded
from tests.zoo import feedforward
from tests.zoo.models import loss_of, seeded
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from foreshock.guard import faults
from foreshock.measure.statistics import gradients

torch.set_num_threads(1)


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
    "adafactor": lambda p: torch.optim.Adafactor(p, 1e-2),
    "adagrad": lambda p: torch.optim.Adagrad(p, 1e-2),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 1e-2),
    "lion": lion,
}


LATE = {"adafactor": needs(torch.optim, "Adafactor", "2.5")}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=LATE.get(kind, ())) for kind in OPTIMIZERS])
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


def test_adam_without_epsilon_is_read_where_subnormal_numbers_count_as_zero(recorded: Recorded) -> None:
    """As in each process in which torch 2.4 has compiled code for the CPU: the compiler's libraries ask for it."""
    run = Run(recorded, torch.optim.Adam, lr=0.0, eps=0.0)
    assert torch.set_flush_denormal(True)
    try:
        for _ in range(2):
            for p in run.model.parameters():
                p.grad = torch.ones_like(p)
                p.grad.view(-1)[0] = 0.0
            run.optimizer.step()
            values = recorded.step()
    finally:
        torch.set_flush_denormal(False)
    assert 0.9 < values["adam_rms"] < 1.0


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
