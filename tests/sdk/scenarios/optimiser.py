"""Optimizer steps, clipping, loss scales, micro-batches, curvature."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from tests.sdk.scenarios.scenario import Scenario, none, shown
from tests.sdk.subjects.subject import Readings, row_of
from torch import Tensor, nn

from foreshock.measure.probes import loss_scale
from foreshock.measure.statistics import STATISTICS, clipping, curvature, gradients
from foreshock.testing import recording

STEP = "step"


def _history(now: float, before: float | None) -> Readings:
    """Beside a history of that value, or none."""
    weight = 0.0 if before is None else 0.01
    history = torch.tensor([[0.01 * (before or 0.0)], [weight]])
    names = ("gradient_norm_ratio", "gradient_max_ratio")
    ratio, _ = gradients.against_history(torch.tensor([now]), history)
    return {STATISTICS[name].series("block"): ratio.item() for name in names}


def _clipped(*norms: float) -> Readings:
    values, _ = clipping.measure(torch.tensor(norms), torch.zeros(2), 1.0)
    return row_of([STATISTICS[name].series("") for name in clipping.YIELDS], values)


def _noise(name: str, *shares: float) -> Callable[[], Readings]:
    """After records with so much signal."""

    def read() -> Readings:
        history, ratio = torch.zeros(2), torch.full((1,), math.nan)
        for share in shares:
            ratio, history = gradients.noise(torch.tensor([share]), history)
        return {STATISTICS[name].series(""): ratio.item()}

    return read


def _linear_loss() -> Readings:
    values = curvature.measure(torch.zeros_like, torch.randn(7), 4)
    found = row_of([STATISTICS[name].series("") for name in curvature.YIELDS], values)
    sharp = found[STATISTICS["sharpness"].series("")]
    return {**found, STATISTICS["sharpness_times_lr"].series(""): sharp * 0.1}


def _trained(passes: int) -> Readings:
    """What a few steps of training with a loss scaler record, so many backward passes to each; 0 where nothing does."""
    every = {"optimiser": 1, "noise": 1}
    with recording(every=every) as recorded:
        model = nn.Linear(4, 2)
        recorded.run.watch(model, quiet=True)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        for _ in range(3):
            optimizer.zero_grad()
            for _ in range(passes):
                scaler.scale(model(torch.randn(5, 4)).square().mean()).backward()
            scaler.step(optimizer)
            scaler.update()
            recorded.run.step()
        names = (*loss_scale.YIELDS, "micro_batches")
        found = {}
        for name in names:
            keys = [key for key in recorded.series() if key.partition("{")[0] == name]
            values = [recorded.columns(key).values for key in keys]
            found[STATISTICS[name].series("")] = float(values[0][-1]) if values and len(values[0]) else 0.0
        return found


def _agreeing() -> Readings:
    parts = torch.ones(4, 6)
    share = gradients.signal(parts.square().sum(), parts.sum(0).square().sum(), 4)
    return {STATISTICS["gradient_noise_scale"].series(""): gradients.noise(share, torch.zeros(2))[0].item()}


def _one_bad(x: Tensor) -> Tensor:
    x = x.clone()
    x[0, 0] = math.nan
    return x


def _one_infinite(x: Tensor) -> Tensor:
    x = x.clone()
    x[0, 0] = math.inf
    return x


STILL = {"after": lambda x: torch.zeros_like(x), "weight": none}

SCENARIOS = [
    Scenario(
        "zero gradients",
        shown(STEP, gradient=none, first=none),
        "for (a )?zero gradients?( |$)|without a gradient|the gradient or the moment is zero|one of the two gradients is zero|of the losses does not reach|first loss does not reach|does not depend on the parameters",
    ),
    Scenario(
        "zero gradients of two steps",
        shown(STEP, gradient=none, before=none),
        "^0 for zero gradients$",
        names=("gradient_sign_agreement",),
    ),
    Scenario(
        "zero moments",
        shown(STEP, first=none, second=none),
        "the gradient or the moment is zero|second moment is zero|never had a gradient",
    ),
    Scenario(
        "only the first loss", shown(STEP, before=none), "infinite where only the second", expected=math.inf
    ),
    Scenario("zero weights", shown(STEP, **STILL), "for zero (gradients or )?weights|nothing moved"),
    Scenario("zero weights that moved", shown(STEP, weight=none), "all-zero weights moved"),
    Scenario(
        "a gradient that is NaN",
        shown(STEP, gradient=_one_bad),
        "when a gradient (is|holds one|is not finite)|when the norm is",
    ),
    Scenario(
        "a gradient that is infinite", shown(STEP, gradient=_one_infinite), "NaN or infinite when a gradient"
    ),
    Scenario("a weight that is NaN", shown(STEP, weight=_one_bad), "infinite when a weight is"),
    Scenario("a moment that is NaN", shown(STEP, second=_one_bad), "when a moment is not finite"),
    Scenario("no history", lambda: _history(3.0, None), "at the first record|history is zero"),
    Scenario("a history of zeros", lambda: _history(3.0, 0.0), "history is zero"),
    Scenario(
        "a norm that is NaN",
        lambda: _history(math.nan, 2.0),
        "NaN or infinite when the norm is|NaN when a gradient is",
    ),
    Scenario("norms of zero", lambda: _clipped(0.0, 0.0), "^0 for zero gradients|without a history"),
    Scenario(
        "norms that are NaN",
        lambda: _clipped(math.nan, math.inf),
        "no norm was finite|NaN or infinite when a gradient is",
    ),
    Scenario("micro-batches that agree", _agreeing, "all micro-batches agree"),
    Scenario(
        "micro-batches without anything in common",
        _noise("gradient_noise_scale", -0.2),
        "at most 1e6, read when they",
        expected=999999.0,
    ),
    Scenario(
        "gradients that turn back",
        _noise("gradient_noise_ratio", -0.2),
        "at most 1e6, read when the mean",
        expected=999999.0,
    ),
    Scenario("no finite cosine", _noise("gradient_noise_ratio", math.nan), "before the first finite cosine"),
    Scenario("a linear loss", _linear_loss, "^0 for a linear loss"),
    Scenario("no overflow", lambda: _trained(1), "without an overflow"),
    Scenario("a loss scale", lambda: _trained(1), "what it was set to", expected=8.0),
    Scenario("one backward pass", lambda: _trained(1), "not recorded below 2", expected=0.0),
    Scenario("two backward passes", lambda: _trained(2), "not recorded below 2", expected=2.0),
]
