"""The noise between the micro-batches of a step."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import weakref

import pytest
import torch
from tests.sdk.optimiser.running import Run, flat
from tests.sdk.recorded import Recorded
from tests.zoo import feedforward
from torch import Tensor

torch.set_num_threads(1)


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
