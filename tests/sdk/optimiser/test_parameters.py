"""Which parameters are read: those of this model that have gradients, by whichever optimizer."""

from __future__ import annotations

import pytest
import torch
from tests.sdk.optimiser.running import Run
from tests.sdk.recorded import Recorded
from tests.zoo import feedforward
from tests.zoo.models import loss_of, seeded
from torch import nn
from torch.nn.utils import clip_grad_norm_

from foreshock.measure.probes.stepping import Steps

torch.set_num_threads(1)


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
