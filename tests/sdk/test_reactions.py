"""The closed loop: actions on alerts, dry until asked for, written down, and never in the way of the training."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import foreshock
from foreshock import Alert, remedies
from foreshock.guard import faults
from foreshock.reactions.agreement import SIZE, Decision, _decoded, _encoded
from foreshock.testing import Recording, recording

COLLAPSE = "policy-entropy-collapse"


def told(rule: str = COLLAPSE, episode: int = 1, **more: Any) -> dict[str, Any]:
    return {"rule": rule, "series": "policy_entropy", "state": "firing", "severity": "critical", "step": 412, "value": 0.31,
            "baseline": 0.82, "threshold": 0.205, "message": "it dies", "episode": episode, **more}  # fmt: skip


@pytest.fixture
def recorded() -> Iterator[Recording]:
    with recording() as recorded:
        yield recorded


def hear(recorded: Recording, *alerts: dict[str, Any]) -> None:
    """The server tells these with its next answer, and the step after it reacts."""
    recorded.transport.alerts = list(alerts)
    recorded.run.log(loss=1.0)
    recorded.run.step()
    recorded.settle()
    recorded.run.step()


def done(recorded: Recording) -> list[tuple[str, str, str]]:
    return [(one.action, one.rule, one.state) for one in recorded.run.acted]


def test_rules_are_named_by_a_glob(recorded: Recording) -> None:
    heard: dict[str, list[str]] = {"policy-entropy-*": [], "*-finite": [], "policy": []}
    for glob, rules in heard.items():
        recorded.run.on_alert(glob)(lambda alert, rules=rules: rules.append(alert.rule))
    hear(recorded, told(), told("non-finite"))
    assert heard == {"policy-entropy-*": [COLLAPSE], "*-finite": ["non-finite"], "policy": []}


def test_what_changes_the_training_is_a_dry_run_until_asked_for(recorded: Recording) -> None:
    handed: list[float] = []
    recorded.run.on_alert("*", action="set", value=0.02)(handed.append)
    recorded.run.on_alert("*", action="stop")
    hear(recorded, told())
    assert handed == []
    assert done(recorded) == [("set append", COLLAPSE, "dry run"), ("stop", COLLAPSE, "dry run")]


def test_set_hands_over_what_was_given_or_proposed(recorded: Recording) -> None:
    handed: list[float] = []

    @recorded.run.on_alert("policy-*", action="set", value=lambda alert: alert.baseline / 10, dry_run=False)
    def coefficient(value: float) -> None:
        handed.append(value)

    @recorded.run.on_alert("policy-*", action="set", value=lambda _alert: None, dry_run=False)
    def never(value: float) -> None:
        raise AssertionError("nothing was proposed")

    hear(recorded, told())
    assert handed == [pytest.approx(0.082)]
    assert done(recorded) == [("set coefficient", COLLAPSE, "applied")]


@pytest.mark.parametrize(
    "wild", [math.nan, math.inf, "much", lambda alert: 1 / 0, lambda alert: alert.nothing]
)
def test_a_proposal_that_is_no_number_is_not_handed_on(recorded: Recording, wild: Any) -> None:
    handed: list[float] = []
    recorded.run.on_alert(action="set", value=wild, dry_run=False)(handed.append)
    hear(recorded, told())
    assert handed == []
    assert done(recorded) == [("set append", COLLAPSE, "failed")]
    assert recorded.run.acted[0].error


def test_what_is_done_is_recorded_with_the_run(recorded: Recording, caplog: pytest.LogCaptureFixture) -> None:
    recorded.run.on_alert(action="set", value=0.02, dry_run=False)(deque[float]().append)
    recorded.run.on_alert(action="stop")
    recorded.run.step(41)
    hear(recorded, told())
    what = recorded.columns(f"action/set append/{COLLAPSE}")
    assert (what.steps.tolist(), what.values.tolist()) == ([43], [1.0])
    assert recorded.columns(f"action/set append/{COLLAPSE}/value").values.tolist() == [0.02]
    assert recorded.columns(f"action/stop/{COLLAPSE}").values.tolist() == [0.0]  # dry
    one = recorded.run.acted[0]
    assert (one.step, one.rule, one.value, one.why) == (43, COLLAPSE, 0.02, "it dies")
    assert sum("it dies" in record.getMessage() for record in caplog.records) == 2
    assert recorded.columns("loss").steps.tolist() == [42]


def test_stop_comes_after_everything_else_whatever_the_order(recorded: Recording) -> None:
    saved: list[str] = []
    recorded.run.on_alert("*", action="stop", dry_run=False)

    @recorded.run.on_alert("*", action="checkpoint")
    def save(alert: Alert) -> None:
        saved.append(alert.rule)

    with pytest.raises(foreshock.StopTraining, match="it dies"):
        hear(recorded, told(), told("non-finite"))
    assert saved == [COLLAPSE, "non-finite"]
    recorded.run.step()


def test_notify_says_it_in_the_log(recorded: Recording, caplog: pytest.LogCaptureFixture) -> None:
    recorded.run.on_alert("policy-*", action="notify")
    with caplog.at_level(logging.WARNING):
        hear(recorded, told(), told("non-finite", message="other"))
    lines = [record.getMessage() for record in caplog.records]
    assert any(COLLAPSE in line and "critical" in line and "it dies" in line for line in lines)
    assert not any("other" in line for line in lines)


def test_a_checkpoint_that_fails_ends_nothing(recorded: Recording) -> None:
    @recorded.run.on_alert(action="checkpoint")
    def save(alert: Alert) -> None:
        raise OSError("the disk is full")

    hear(recorded, told(), told("non-finite"))
    assert done(recorded) == [
        ("checkpoint save", COLLAPSE, "failed"),
        ("checkpoint save", "non-finite", "failed"),
    ]
    assert "disk is full" in recorded.run.acted[0].error
    assert sum(faults().values()) == 2


def test_resolutions_may_be_acted_on(recorded: Recording) -> None:
    handed: list[float] = []
    recorded.run.on_alert("policy-*", action="set", value=0.0, resolved=True, dry_run=False)(handed.append)
    hear(recorded, told())
    assert handed == []
    hear(recorded)
    assert handed == [0.0]


def test_a_wrong_call_says_what_to_write(recorded: Recording) -> None:
    with pytest.raises(ValueError, match="callback, notify, checkpoint, stop, set"):
        recorded.run.on_alert("*", action="page me")
    with pytest.raises(TypeError, match="value="):
        recorded.run.on_alert("*", action="set")(lambda value: None)
    with pytest.raises(TypeError, match="needs no function"):
        recorded.run.on_alert("*", action="stop")(lambda alert: None)
    with pytest.raises(ValueError, match="above 1"):
        remedies.raise_entropy_target(lambda: 1.0, lambda value: None, factor=0.5, at_most=2.0)


def test_a_storm_of_alerts_is_bounded_everywhere(recorded: Recording) -> None:
    recorded.run.on_alert("*", action="set", value=1.0)(lambda value: None)
    hear(recorded, *[told(f"rule-{number}") for number in range(3000)])
    assert len(recorded.run.acted) <= 1000
    assert len([key for key in recorded.series() if key.startswith("action/")]) <= 400


# -- several ranks, as one of them sees it --------------------------------------------------------------------


def test_the_first_of_several_ranks_waits_for_agreement(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    heard: list[str] = []
    with recording(run="two") as recorded:
        recorded.run.on_alert("*", action="stop", dry_run=False)
        recorded.run.on_alert(lambda alert: heard.append(alert.rule))
        hear(recorded, told())
        hear(recorded, told(), told("non-finite"))
        assert heard == [COLLAPSE, "non-finite"]  # what each rank does for itself does not wait
        assert recorded.run.acted == ()
        assert sum("run.agree()" in record.getMessage() for record in caplog.records) == 1
        recorded.run.agree()  # torch.distributed is not running: nothing to agree with
        assert recorded.run.acted == ()


def test_the_others_decide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with recording(run="two") as recorded:
        recorded.run.on_alert("*", action="set", value=1.0)(lambda value: None)
        hear(recorded, told())
        assert recorded.run.acted == ()


def test_agreeing_alone_costs_nothing_and_does_nothing(recorded: Recording) -> None:
    recorded.run.on_alert("*", action="stop", dry_run=False)
    recorded.run.agree()
    recorded.run.finish()
    recorded.run.agree()
    began = time.process_time()
    for _ in range(10_000):
        recorded.run.agree()
    assert time.process_time() - began < 2.0


def decision(number: int, **more: Any) -> Decision:
    return Decision(number, f"set {number}", Alert.from_wire(told(**more)), 0.5 * number)


def test_what_is_agreed_on_arrives_as_it_was_and_in_order() -> None:
    waiting = deque([decision(1, value="NaN", message="stirbt — 死"), decision(2, baseline=None)])
    first, second = _decoded(_encoded(waiting).ljust(SIZE, b"\0"))
    assert not waiting
    assert (first.reaction, first.name, first.value, first.alert.message) == (1, "set 1", 0.5, "stirbt — 死")
    assert math.isnan(first.alert.value or 0.0)
    assert second == decision(2, baseline=None)
    assert _decoded(b"\0" * SIZE) == []


def test_what_does_not_fit_waits_for_the_next_time_and_what_never_fits_is_dropped() -> None:
    waiting = deque(
        [decision(1, series="x" * 9000), *(decision(number, message="m" * 5000) for number in range(2, 40))]
    )
    got: list[int] = []
    for _ in range(40):
        body = _encoded(waiting)
        assert len(body) <= SIZE
        got += [one.reaction for one in _decoded(body.ljust(SIZE, b"\0"))]
    assert got == list(range(2, 40))


# -- remedies, in real small trainings ------------------------------------------------------------------------


def test_the_entropy_target_rises_to_its_bound_and_no_further(recorded: Recording) -> None:
    target = [0.4]

    def put(value: float) -> None:
        target[0] = value

    recorded.run.on_alert(
        "*", remedies.raise_entropy_target(lambda: target[0], put, factor=1.5, at_most=0.7), dry_run=False
    )
    seen = []
    for episode in range(1, 4):
        hear(recorded, told(episode=episode))
        seen.append(target[0])
    np.testing.assert_allclose(seen, [0.6, 0.7, 0.7])
    assert len(recorded.run.acted) == 2


@pytest.mark.parametrize("tensor", [False, True])
def test_the_learning_rate_drops_and_the_schedule_goes_on_from_there(
    recorded: Recording, tensor: bool
) -> None:
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], lr=torch.tensor(0.1) if tensor else 0.1, capturable=False)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0) if not tensor else None
    remedy = remedies.drop_learning_rate(optimizer, factor=0.5, at_least=0.03, scheduler=scheduler)
    recorded.run.on_alert("loss-*", remedy)
    hear(recorded, told("loss-spike"))
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.1)  # dry
    recorded.run.on_alert("loss-*", remedy, dry_run=False)
    rates = []
    for episode in range(2, 5):
        hear(recorded, told("loss-spike", episode=episode))
        weight.sum().backward()
        optimizer.step()
        rates.append(float(optimizer.param_groups[0]["lr"]))
    np.testing.assert_allclose(rates, [0.05, 0.03, 0.03], rtol=1e-6)
    if scheduler is not None:
        scheduler.step()
        assert scheduler.base_lrs == [0.025]


def training(seed: int, kind: str) -> Any:
    torch = pytest.importorskip("torch")
    torch.manual_seed(seed)
    nn = torch.nn
    if kind == "linear":
        model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 1))
        x = torch.randn(256, 8)
    else:
        model = nn.Sequential(
            nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 1, 3), nn.Flatten(), nn.Linear(16, 1)
        )
        x = torch.randn(64, 3, 8, 8)
    with torch.no_grad():
        model[0].bias[:16] = -100.0
    y = x.flatten(1).sum(1, keepdim=True) / 4
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def step() -> float:
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return model, optimizer, x, step


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_dormant_units_are_recycled_and_learn_again(recorded: Recording, kind: str) -> None:
    import torch

    model, optimizer, x, step = training(0, kind)
    losses = [step() for _ in range(30)]
    after = 3 if kind == "linear" else 2
    remedy = remedies.recycle_dormant_units(model, optimizer, lambda: model(x))
    recorded.run.on_alert("dormant-*", remedy, dry_run=False)
    model.eval()
    before = model(x)
    model.train()
    stream = torch.random.get_rng_state()
    hear(recorded, told("dormant-units"))
    assert torch.equal(stream, torch.random.get_rng_state())  # the training's random numbers are its own
    assert model.training
    assert remedy.recycled == 16
    model.eval()
    torch.testing.assert_close(
        model(x), before, rtol=1e-4, atol=1e-5
    )  # they gave nothing, and give nothing yet
    model.train()
    assert (model[0].bias[:16] == 0).all()
    assert (model[after].weight[:, :16] == 0).all()
    assert model[0].weight[:16].abs().max() <= (8 if kind == "linear" else 27) ** -0.5
    assert (optimizer.state[model[0].weight]["exp_avg_sq"][:16] == 0).all()
    assert (optimizer.state[model[after].weight]["exp_avg"][:, :16] == 0).all()
    losses += [step() for _ in range(60)]
    assert min(losses[30:]) < losses[29]
    assert model[after].weight[:, :16].abs().mean() > 1e-3
    assert remedies.recycle_dormant_units(model, optimizer, lambda: model(x)).recycled == 0


def test_a_dry_run_recycles_nothing_and_a_broken_batch_ends_nothing(recorded: Recording) -> None:
    import torch

    model, optimizer, x, step = training(1, "linear")
    step()
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    recorded.run.on_alert("dormant-*", remedies.recycle_dormant_units(model, optimizer, lambda: model(x)))
    recorded.run.on_alert(
        "dormant-*", remedies.recycle_dormant_units(model, optimizer, lambda: model(x[:, :3])), dry_run=False
    )
    recorded.run.on_alert(
        "dormant-*", remedies.recycle_dormant_units(model, optimizer, lambda: None), dry_run=False
    )
    hear(recorded, told("dormant-units"))
    assert [state for _, _, state in done(recorded)] == ["dry run", "failed", "failed"]
    assert all(torch.equal(one, other) for one, other in zip(weights, model.parameters(), strict=True))
    assert model.training
    assert not model[3]._forward_pre_hooks


def test_a_model_without_units_is_refused_when_it_is_installed() -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(3, 3))
    with pytest.raises(ValueError, match="pairs="):
        remedies.recycle_dormant_units(model, torch.optim.SGD(model.parameters(), lr=0.1), lambda: None)


def test_reaching_for_the_remedies_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, foreshock.remedies; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
