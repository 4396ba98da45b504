"""What is read when an optimizer steps, against numbers worked out beside it."""

from __future__ import annotations

import math

import pytest
import torch
from tests.sdk.optimiser.running import Run, cosine, flat
from tests.sdk.recorded import Recorded
from tests.zoo import feedforward, transformers
from tests.zoo.models import loss_of, seeded

from foreshock.config import EVERY

torch.set_num_threads(1)


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
    recorded = Recorded(dict.fromkeys(EVERY, 0) | {"moments": 3})
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
