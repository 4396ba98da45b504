"""Alerts that travel back: what the loop can ask, and callbacks that run in step(), once per episode."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

import foreshock
from foreshock import Alert
from foreshock.guard import faults
from foreshock.testing import Recording, recording


def told(rule: str = "policy-entropy-collapse", episode: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "rule": rule,
        "series": "policy_entropy",
        "state": "firing",
        "severity": "critical",
        "step": 412,
        "value": 0.31,
        "baseline": 0.82,
        "threshold": 0.205,
        "message": "it dies",
        "episode": episode,
        **more,
    }


@pytest.fixture
def recorded() -> Iterator[Recording]:
    with recording() as recorded:
        yield recorded


def hear(recorded: Recording, *alerts: dict[str, Any]) -> None:
    """The server tells these with its next answer."""
    recorded.transport.alerts = list(alerts)
    recorded.run.log(loss=1.0)
    recorded.run.step()
    recorded.settle()


def test_the_loop_can_ask_what_is_firing(recorded: Recording) -> None:
    run = recorded.run
    assert not run.alerts
    assert run.alerts.firing("policy-entropy-collapse") == []
    hear(recorded, told(), told("non-finite", value="NaN", baseline=None))
    assert run.alerts
    assert len(run.alerts) == 2
    assert [alert.rule for alert in run.alerts] == ["policy-entropy-collapse", "non-finite"]
    (alert,) = run.alerts.firing("policy-entropy-collapse")
    assert (alert.step, alert.value, alert.baseline, alert.message) == (412, 0.31, 0.82, "it dies")
    assert math.isnan(run.alerts[1].value or 0.0)
    assert run.alerts[1].baseline is None
    hear(recorded)
    assert not run.alerts.firing()


def test_a_callback_runs_in_the_step_after_the_answer_and_once_per_episode(recorded: Recording) -> None:
    heard: list[Alert] = []
    assert recorded.run.on_alert(heard.append) is not None
    hear(recorded, told())
    assert heard == [], "not on the sender's thread"
    for _ in range(3):
        recorded.run.step()
    assert [alert.episode for alert in heard] == [1]
    hear(recorded, told(episode=1))
    hear(recorded, told(episode=2))
    recorded.run.step()
    assert [alert.episode for alert in heard] == [1, 2]


def test_a_callback_can_be_for_one_rule_or_for_resolutions(recorded: Recording) -> None:
    of_rule: list[Alert] = []
    resolved: list[Alert] = []

    @recorded.run.on_alert("non-finite")
    def one(alert: Alert) -> None:
        of_rule.append(alert)

    @recorded.run.on_alert(resolved=True)
    def end(alert: Alert) -> None:
        resolved.append(alert)

    hear(recorded, told(), told("non-finite"))
    hear(recorded, told("non-finite"))
    recorded.run.step()
    assert [alert.rule for alert in of_rule] == ["non-finite"]
    assert [(alert.rule, alert.state) for alert in resolved] == [("policy-entropy-collapse", "resolved")]


def test_what_a_callback_raises_is_said_once_and_the_others_still_run(
    recorded: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Alert] = []

    @recorded.run.on_alert
    def broken(alert: Alert) -> None:
        raise RuntimeError("the pager is on fire")

    recorded.run.on_alert(heard.append)
    hear(recorded, told(), told("non-finite"))
    recorded.run.step()
    assert len(heard) == 2
    assert sum("the pager is on fire" in record.message for record in caplog.records) == 1
    assert [count for site, count in faults().items() if site.startswith("alert callback")] == [2]


def test_stop_training_leaves_the_step(recorded: Recording) -> None:
    @recorded.run.on_alert("policy-entropy-collapse")
    def stop(alert: Alert) -> None:
        raise foreshock.StopTraining(alert.message)

    hear(recorded, told())
    with pytest.raises(foreshock.StopTraining, match="it dies"):
        recorded.run.step()
    recorded.run.step()


@pytest.mark.usefixtures("lenient")
def test_alerts_that_make_no_sense_are_our_fault_and_delivery_goes_on(recorded: Recording) -> None:
    hear(recorded, {"series": "an alert without a rule"})
    assert faults()["reading the server's answer"] >= 1
    assert recorded.columns("loss").values.tolist() == [1.0]


def test_fields_of_a_later_version_are_ignored(recorded: Recording) -> None:
    hear(recorded, told(confidence=0.9))
    assert recorded.run.alerts.firing()[0].rule == "policy-entropy-collapse"
