"""All at once: workers that die at any transaction, a receiver that is away for an hour, two of every worker, a storm of a thousand series.

Each incident is one message when it begins and one when it is over, under one id however often it is tried. What a kill -9 of whole
processes does is in tests/crash.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from sqlalchemy.orm import Session
from standardwebhooks.webhooks import Webhook as Verifier
from tests.server.notify.limits import check_slack

from foreshock_server.bus import LocalBus
from foreshock_server.db import Database
from foreshock_server.incidents.keeper import Keeper
from foreshock_server.models import Incident
from foreshock_server.notify.worker import Deliverer
from foreshock_server.rules.evaluator import Evaluator

STORM = 1000  # series
HOUR = 3600.0
DYING = 0.08  # of the transactions, before they are stored, and as many after


class Killed(BaseException):
    """Whoever it comes upon does nothing more."""


class Mortal(Database):
    """A database at whose transactions workers die: with nothing stored, or stored and unknown to anybody."""

    def __init__(self, url: str, story: random.Random) -> None:
        super().__init__(url)
        self.deaths = 0
        self.calm = False
        self._story = story

    @contextmanager
    def writing(self) -> Iterator[Session]:
        with super().writing() as session:
            yield session
            self._perhaps()
        self._perhaps()

    def _perhaps(self) -> None:
        if not self.calm and self._story.random() < DYING:
            self.deaths += 1
            raise Killed


class Crew:
    """Two of each worker; one that dies is replaced by one that knows only what is stored."""

    def __init__(self, *makes: Callable[[], Any]) -> None:
        self._makes = [make for make in makes for _ in range(2)]
        self._workers = [make() for make in self._makes]

    def work(self) -> None:
        """Each does what there is to do."""
        for place, make in enumerate(self._makes):
            try:
                while self._workers[place].run_once():
                    pass
            except Killed:
                self._end(place)
                self._workers[place] = make()

    def _end(self, place: int) -> None:
        if isinstance(self._workers[place], Deliverer):
            self._workers[place].close()

    def close(self) -> None:
        for place in range(len(self._workers)):
            self._end(place)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_an_incident_is_one_message_when_it_begins_and_one_when_it_is_over(
    client, wire, receive, secret, answer, seed
):
    state, now, story = client.app.state, [time.time()], random.Random(seed)
    hook, slack = receive(), receive()
    made = {
        "hook": {"kind": "webhook", "url": hook.url, "secret": secret},
        "slack": {"kind": "slack", "url": slack.url},
    }
    for name, channel in made.items():
        assert client.post("/api/v1/channels", json={"name": name, **channel}).status_code == 201
    mortal, bus = Mortal(state.database.url, story), LocalBus()
    mortal._one_writer = state.database._one_writer  # one process, one writer
    crew = Crew(
        lambda: Evaluator(mortal, state.rules, bus, state.settings, clock=lambda: now[0]),
        lambda: Keeper(mortal, bus, clock=lambda: now[0]),
        lambda: Deliverer(mortal, state.settings, bus, clock=lambda: now[0], chance=story.random),
    )
    trainer, seq = wire.Trainer(client), 0
    trainer.open(project="grpo-math")
    names = ["policy_entropy", "loss", *(f"metric_{number}" for number in range(STORM))]

    def train(entropy: float, others: float) -> None:
        nonlocal seq
        for _ in range(3):
            seq += 1
            steps = range(20 * seq, 20 * seq + 20)
            values = np.full((20, len(names)), others) * (1 + 0.01 * np.sin(np.arange(20))[:, None])
            values[:, 0] *= entropy / others if np.isfinite(others) else 1.0
            trainer.send(seq, [wire.rows(1, steps, values)], [wire.frame(1, names)] if seq == 1 else [])
            pass_time(10.0)

    def pass_time(seconds: float, every: float = 10.0) -> None:
        until = now[0] + seconds
        while now[0] < until:
            now[0] += every
            crew.work()

    def away(yes: bool) -> None:
        for receiver in (hook, slack):
            receiver.script[:] = (
                [answer(503, {}, b"", hang_up=story.random() < 0.5) for _ in range(10_000)] if yes else []
            )

    train(0.9, 1.0)
    train(0.05, 1.0)  # one family falls …
    away(True)
    refused = {one: len(one.received) for one in (hook, slack)}
    train(0.05, np.nan)  # … then a thousand series at once, and nobody hears it
    pass_time(HOUR, 120.0)
    train(0.9, 1.0)
    away(False)
    taken = {one: len(one.received) for one in (hook, slack)}
    pass_time(HOUR, 120.0)
    train(0.05, 1.0)  # and once more
    train(0.9, 1.0)
    mortal.calm = True
    pass_time(HOUR, 120.0)
    crew.close()
    mortal.close()
    assert mortal.deaths > 5
    arrived = {one: one.received[: refused[one]] + one.received[taken[one] :] for one in (hook, slack)}
    told: dict[int, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in arrived[hook]:
        Verifier(secret).verify(one.body, one.headers)
        told[one.json()["incident"]["number"]][one.json()["type"]].add(one.id)
    with state.database.reading() as session:
        incidents = session.query(Incident).all()
    assert {one.state for one in incidents} == {"resolved"}
    assert set(told) == {one.number for one in incidents if one.told_at is not None}
    assert len(told) >= 3
    for types in told.values():
        assert [len(types[kind]) for kind in ("alert.fired", "alert.resolved")] == [1, 1]
        assert set(types) <= {"alert.fired", "alert.escalated", "alert.resolved"}
        assert len(types["alert.escalated"]) <= 1
    for one in arrived[slack]:
        check_slack(one.json())
    ids = {one.id for one in arrived[slack]}
    assert len(ids) == sum(len(ids) for types in told.values() for ids in types.values())
