"""The norm before clipping, and what a scaler skips."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tests.sdk.optimiser.running import Run, flat, needs
from tests.sdk.recorded import Recorded
from tests.zoo import feedforward
from tests.zoo.models import loss_of, seeded
from torch import Tensor, nn
from torch.nn.utils import clip_grad, clip_grad_norm_
from torch.nn.utils.clip_grad import clip_grad_norm_ as held_already

from foreshock.config import EVERY
from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments

torch.set_num_threads(1)


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


LATE = {"in two steps": needs(torch.nn.utils, "clip_grads_with_norm_", "2.6")}


@pytest.mark.parametrize("how", [pytest.param(how, marks=LATE.get(how, ())) for how in CLIPPINGS])
def test_the_norm_before_clipping_is_heard(how: str, recorded: Recorded) -> None:
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


def over_steps(rows: list[StepRow], key: str) -> dict[int, float]:
    """The values of a series, by step."""
    return {
        row.step: value
        for row in rows
        for spec, value in zip(row.frame.series, row.values.tolist(), strict=True)
        if spec.key == key
    }


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
    assert over_steps(rows, "gradient_norm_peak")[5] == pytest.approx(max(norms), rel=1e-5)
    assert over_steps(rows, "gradient_norm_before_clipping")[5] == pytest.approx(norms[5], rel=1e-5)
    assert over_steps(rows, "gradient_peak_ratio")[5] == pytest.approx(max(norms) / norms[0], rel=1e-4)
    assert over_steps(rows, "clipped_step_share")[5] == pytest.approx(1 / 5)


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
    found, scales = over_steps(rows, "skipped_step_share"), over_steps(rows, "loss_scale")
    assert found == {0: 0.0, 4: 0.5, 8: 0.0}
    assert scales == {0: 64.0, 4: 16.0, 8: 16.0}


def test_a_scaler_that_is_off_says_nothing(recorded: Recorded) -> None:
    run = Run(recorded, torch.optim.SGD, lr=1e-2)
    run.backward()
    torch.amp.GradScaler("cpu", enabled=False).step(run.optimizer)
    assert not [key for key in recorded.step() if key.startswith(("skipped", "loss_scale"))]
