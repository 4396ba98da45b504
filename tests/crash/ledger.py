"""What a server holds of a run -> AssertionError unless it is exactly what was logged, alerted and notified, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from tests.crash.logged import SERIES, value

from foreshock.demo.receiver import Received
from foreshock.query.client import Client, ForeshockError, RunView

Transition = tuple[str, str, str, int]  # rule, series, kind, step


class Incomplete(Exception):
    """Not everything is there yet; it may still come."""


def readings(client: Client, run_id: str, steps: range, repeated: int = 0) -> RunView:
    """Every series has every step once, in order, with the value that was logged; and the counts say the same.

    `repeated`: steps that a resume took again. They are counted, and left out of what is shown.
    """
    run = client.run(run_id)
    listed = {one["key"]: one for one in run.series_list()}
    for series in SERIES:
        if series not in listed:
            raise Incomplete(f"{series} is not there")
        stored = run.series(series)
        if len(stored) < len(steps):
            raise Incomplete(f"{series} has {len(stored)} of {len(steps)} steps")
        twice = [step for step, times in Counter(stored.steps.tolist()).items() if times > 1]
        assert not twice, f"{series} has the steps {twice[:10]} more than once"
        assert stored.steps.tolist() == list(steps), f"{series} has other steps, or in another order"
        expected = np.array([value(series, step) for step in steps])
        np.testing.assert_array_equal(stored.values, expected, f"{series} has other values than were logged")
    fields = run.refresh().fields
    counted = {one["key"]: one["points"] for one in run.series_list()}
    recorded = len(steps) + repeated
    if fields["points"] < len(SERIES) * recorded or fields["points"] != sum(counted.values()):
        raise Incomplete(f"the run counts {fields['points']} points, its series {sum(counted.values())}")
    assert {series: counted[series] for series in SERIES} == dict.fromkeys(SERIES, recorded)
    assert len(run.series(SERIES[0], superseded=True)) == recorded
    assert fields["dropped"] == 0, f"{fields['lost']} are said to be lost"
    return run


def transitions(run: RunView) -> list[Transition]:
    """What the rules made of our series, in the order of the steps; each once."""
    found = [
        (one["rule"], one["series"], one["kind"], int(one["step"]))
        for one in run.transitions()
        if one["series"] in SERIES
    ]
    # a step that two attempts have may be one of two episodes, when what the first left behind arrives last
    changes = [(one["rule"], one["series"], one["episode"], one["kind"]) for one in run.transitions()]
    assert len(changes) == len(set(changes)), f"one change is told twice: {changes}"
    return sorted(found, key=lambda one: (one[3], one))


def notifications(messages: Iterable[Received]) -> dict[str, tuple[str, str, int]]:
    """Message id -> (rule, type, step) of what arrived about our series: as often as need be, under one id each.

    Of each incident one message says that it began, and one that it is over; a step that two attempts have may be in two incidents.
    """
    found: dict[str, tuple[str, str, int]] = {}
    turns: dict[tuple[int, str], str] = {}
    for message in messages:
        assert message.verified, "a message came without a good signature"
        alert = message.body["alert"]
        if alert["series"] not in SERIES:
            continue
        about = (alert["rule"], message.body["type"], int(alert["step"]))
        assert found.setdefault(message.id, about) == about, f"{message.id} told two different things"
        turn = (message.body["incident"]["number"], message.body["type"])
        if turn[1] in ("alert.fired", "alert.resolved"):
            assert turns.setdefault(turn, message.id) == message.id, f"{turn} is told twice"
    return found


def deliveries_are_done(client: Client, run_id: str) -> bool:
    """Whether the outbox of a run has something, and nothing that waits."""
    try:
        counts = client.get("deliveries", run=run_id)["counts"]
    except ForeshockError:
        return False
    return bool(counts) and not counts.get("waiting")
