"""Blocks of a run whose policy entropy dies -> the rules -> the outbox -> a receiver: the seams between the stages hold."""

from __future__ import annotations

import time

import numpy as np
import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from foreshock_server.notify.worker import Deliverer
from foreshock_server.rules.evaluator import Evaluator


@pytest.fixture
def chain(client, wire, receive, secret):
    """Sends readings of policy entropy, evaluates and delivers; returns what the receiver got."""
    state = client.app.state
    receiver = receive()
    made = {"name": "ops", "kind": "webhook", "url": receiver.url, "secret": secret}
    assert client.post("/api/v1/channels", json=made).status_code == 201

    def runbook_of(rule: str):
        found = state.rules.get(rule)
        return None if found is None else found.runbook.model_dump(mode="json", by_alias=True)

    trainer = wire.Trainer(client)
    assert trainer.open(project="grpo-math").status_code == 200
    evaluator = Evaluator(state.database, state.rules, state.bus, state.settings)
    deliverer = Deliverer(state.database, state.settings, state.bus, runbook_of=runbook_of)
    first_step, seq = 0, 0

    def send(values):
        nonlocal first_step, seq
        seq += 1
        steps = range(first_step, first_step + len(values))
        first_step += len(values)
        entropy = wire.series("policy_entropy", family="policy entropy", unit="nat")
        frames = [{"frame": 1, "series": [entropy]}] if seq == 1 else []
        assert trainer.send(seq, [wire.rows(1, steps, values)], frames) == seq
        while evaluator.run_once():
            pass
        deliverer.run_once()
        return receiver.received

    yield send
    deliverer.close()


def test_a_dying_run_sends_one_message_that_explains_itself_and_one_when_it_is_well_again(chain, secret):
    random = np.random.default_rng(3)
    dying = 0.9 * np.exp(-np.arange(600) / 120.0) * (1 + 0.03 * random.standard_normal(600))
    [fired] = chain(dying)
    Verifier(secret).verify(fired.body, fired.headers)
    body = fired.json()
    alert = body["alert"]
    assert (body["type"], alert["rule"], alert["series"]) == (
        "alert.fired",
        "policy-entropy-collapse",
        "policy_entropy",
    )
    assert body["run"]["project"] == "grpo-math"
    assert alert["family"] == "policy entropy"
    assert alert["title"] == "Policy entropy collapse"
    assert 0 <= alert["since_step"] <= alert["step"] < 600
    assert 0.5 < alert["baseline"] < 1.0
    assert 0.0 < alert["level"] < alert["baseline"]
    assert alert["share_of_baseline"] == pytest.approx(alert["level"] / alert["baseline"])
    assert alert["message"].startswith("Policy entropy is ")
    assert alert["runbook"]["meaning"].startswith("The policy is becoming certain")
    assert all(advice["text"] and advice["source"] for advice in alert["runbook"]["try"])
    well = np.full(600, 0.9) * (1 + 0.03 * random.standard_normal(600))
    _, resolved = chain(well)
    body = resolved.json()
    assert body["type"] == "alert.resolved"
    assert (body["alert"]["rule"], body["alert"]["episode"]) == (alert["rule"], alert["episode"])
    assert body["alert"]["message"].startswith("Resolved: ")
    assert body["alert"]["step"] >= 600
    assert resolved.id != fired.id


def test_a_healthy_run_sends_nothing(chain):
    random = np.random.default_rng(4)
    assert chain(0.9 * (1 + 0.05 * random.standard_normal(600))) == []


def test_evaluating_and_delivering_again_sends_nothing_twice(chain):
    dying = 0.9 * np.exp(-np.arange(600) / 120.0)
    assert len(chain(dying)) == 1
    assert len(chain(np.full(50, dying[-1]))) == 1


def test_a_thousand_series_and_a_receiver_that_is_down_for_an_hour_are_two_messages(
    client, wire, receive, secret, answer
):
    state, now = client.app.state, [time.time()]
    receiver = receive(*[answer(status=503)] * 8)  # the tries of an hour
    body = {"name": "ops", "kind": "webhook", "url": receiver.url, "secret": secret}
    assert client.post("/api/v1/channels", json=body).status_code == 201
    trainer = wire.Trainer(client)
    trainer.open()
    names = [f"metric_{number}" for number in range(1000)]
    evaluator = Evaluator(state.database, state.rules, state.bus, state.settings, clock=lambda: now[0])
    deliverer = Deliverer(state.database, state.settings, state.bus, clock=lambda: now[0], chance=lambda: 0.5)
    for seq, value in ((1, 1.0), (2, np.nan), (3, 1.0)):
        steps = range(100 * seq, 100 * seq + 100)
        trainer.send(
            seq,
            [wire.rows(1, steps, np.full((100, 1000), value))],
            [wire.frame(1, names)] if seq == 1 else [],
        )
        while evaluator.run_once():
            pass
    began = now[0]
    while len({one.id for one in receiver.received}) < 2 and now[0] < began + 24 * 3600:
        now[0] += 60
        deliverer.run_once()
    deliverer.close()
    types = [one.json()["type"] for one in receiver.received]
    assert set(types[:-1]) == {"alert.fired"}, "the end waits for the beginning"
    assert types[-1] == "alert.resolved"
    assert now[0] - began > 3600
    assert len({one.id for one in receiver.received}) == 2
    for one in receiver.received:
        assert one.json()["incident"]["number"] == 1
