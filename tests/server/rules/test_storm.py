"""A thousand series that fire at once: one message, and one when all is well again, whoever evaluates and however often they change."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import select

from foreshock_server.models import Incident

FAMILIES = 10
SERIES = 1000
RULES = tuple(
    f"""
    id: low-{number}
    family: family {number}
    matches: [{{statistic: "x{number}*"}}]
    detector: {{kind: threshold, below: 1, clear: 2}}
    """
    for number in range(FAMILIES)
)
KEYS = [f"x{number % FAMILIES}y@layer.{number}" for number in range(SERIES)]

pytestmark = pytest.mark.usefixtures("channel")


def run_all(evaluator) -> None:
    while evaluator.run_once():
        pass


def test_all_at_once_is_one_message_and_one_more_when_all_is_over(stored, evaluator):
    watcher = evaluator(*RULES)
    stored.block({key: [3, 0.5] for key in KEYS})
    run_all(watcher)
    assert sum(one.kind == "fired" for one in stored.transitions()) == SERIES
    [(rule, series, episode, kind)] = stored.deliveries()
    assert (episode, kind) == (1, "fired")
    stored.block({key: [3, 3] for key in KEYS[1:]} | {KEYS[0]: [0.5, 3]}, first=2)
    run_all(evaluator(*RULES))
    assert stored.deliveries() == [(rule, series, 1, "fired"), (rule, series, 1, "resolved")]


def test_hand_overs_and_races_double_and_lose_nothing(stored, evaluator, database):
    story = random.Random(7)
    keys = KEYS[:60]
    falls = {key: story.randrange(3, 12) for key in keys}
    rises = {key: story.randrange(14, 30) for key in keys}
    keepers = [evaluator(*RULES), evaluator(*RULES)]
    for step in range(32):
        values = {key: [0.5 if falls[key] <= step < rises[key] else 3.0] for key in keys}
        stored.block(values, first=step)
        if story.random() < 0.3:  # one was killed, and another begins with what is stored
            keepers[story.randrange(2)] = evaluator(*RULES)
        for keeper in story.sample(keepers, story.randint(1, 2)):
            run_all(keeper)
    for keeper in keepers:
        run_all(keeper)
    with database.reading() as session:
        incidents = session.scalars(select(Incident)).all()
    assert {one.state for one in incidents} == {"resolved"}
    assert len(incidents) <= 4, "three families by themselves, then a storm"
    kinds = [kind for *_, kind in stored.deliveries()]
    assert kinds.count("fired") == kinds.count("resolved") == len(incidents)
    fired = {one[:3] for one in stored.deliveries() if one[3] == "fired"}
    assert fired == {one[:3] for one in stored.deliveries() if one[3] == "resolved"}
