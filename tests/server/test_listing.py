"""The list of runs: what is asked for is what comes, in the order that was asked for, each run once whatever happens between pages."""

from __future__ import annotations

import itertools
import random

import pytest
from sqlalchemy import insert

from foreshock_server.models import Alert, Run, Series, Tag
from foreshock_server.query.asking import read_cursor, write_cursor
from foreshock_server.store.listing import ORDERS, Place, Wish, counted, listed

STATES = ("running", "finished", "failed")
NOW = 1.79e9


@pytest.fixture
def many(database):
    """A hundred runs of every kind, many of them alike in what they are sorted by."""
    draw = random.Random(7)
    runs, series, alerts, tags = [], [], [], []
    for n in range(100):
        kind = n % 5  # none, fine, pending, warning, critical
        runs.append(
            {
                "id": f"run-{n:03}", "project": f"p{n % 3}", "name": draw.choice(["Otter", "otter", "heron", "Ümlaut", ""]),
                "config": {}, "state": STATES[n % 3], "created_at": NOW - 1000.0 * (n % 7), "updated_at": NOW - float(n % 4),
                "revision": 1, "points": 0 if kind == 0 else 10, "last_step": None if n % 6 == 0 else n % 9,
                "owner": draw.choice([None, "ada", "Grace"]), "archived_at": None, "trashed_at": None,
            }
        )  # fmt: skip
        series += [
            _series(runs[-1]["id"], 1, "loss", "training"),
            _series(runs[-1]["id"], 2, "rank", "representation"),
        ]
        alerts += [_alert(runs[-1]["id"], rule, kind) for rule in range(draw.randint(1, 3)) if kind > 1]
        alerts.append(_alert(runs[-1]["id"], 9, 1))
        if n % 4 == 0:
            tags.append({"run_id": runs[-1]["id"], "tag": draw.choice(["a", "b%"])})
    with database.writing() as session:
        for model, rows in ((Run, runs), (Series, series), (Alert, alerts), (Tag, tags)):
            session.execute(insert(model), rows)
    return {run["id"]: run for run in runs}


def _series(run, number, statistic, family):
    return {
        "run_id": run, "series_id": number, "key": statistic, "key_hash": f"{number:040}", "statistic": statistic, "family": family,
        "place": "", "labels": {}, "unit": "", "dtype": "f32", "about": {}, "points": 5, "nonfinite": 0,
    }  # fmt: skip


def _alert(run, rule, kind):
    return {
        "run_id": run, "rule": f"rule-{rule}", "series_id": 1 + rule % 2, "state": ("ok", "ok", "pending", "firing", "firing")[kind],
        "severity": "critical" if kind in (2, 4) else "warning", "episode": 1, "attempt": 1, "memory": {}, "reading": {},
    }  # fmt: skip


def pages(database, wish, order, *, down, limit):
    found, behind = [], None
    while True:
        with database.reading() as session:
            page = listed(session, wish, order, down=down, limit=limit, behind=behind, quiet_since=NOW - 2.5)
        found += page
        if len(page) < limit:
            return found
        behind = read_cursor(write_cursor(page[-1][1]), order)


@pytest.mark.parametrize(("order", "down"), list(itertools.product(ORDERS, (True, False))))
def test_pages_hold_every_run_once_in_order(database, many, order, down):
    whole = pages(database, Wish(), order, down=down, limit=1000)
    assert len(whole) == len(many)
    paged = pages(database, Wish(), order, down=down, limit=7)
    assert [run.id for run, _ in paged] == [run.id for run, _ in whole]
    values = [place.value for _, place in whole]
    if order not in ("name", "owner"):  # texts go by the database's own order
        assert values == sorted(values, reverse=down)
    for value, alike in itertools.groupby(whole, key=lambda one: one[1].value):
        ids = [run.id for run, _ in alike]
        assert ids == sorted(ids, reverse=down), value


VERDICTS = {"none": {0}, "fine": {1}, "watch": {2, 3}, "collapsing": {4}}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_verdict_that_is_asked_for_is_the_one_that_is_shown(database, many, verdict):
    found = {run.id for run, _ in pages(database, Wish(verdict=verdict), "updated", down=True, limit=9)}
    assert found == {run for n, run in enumerate(many) if n % 5 in VERDICTS[verdict]}


def test_the_worst_come_first_by_verdict_and_the_most_alarmed_by_alerts(database, many):
    by_verdict = [int(run.id[4:]) % 5 for run, _ in pages(database, Wish(), "verdict", down=True, limit=9)]
    order = {0: 0, 1: 1, 2: 2, 3: 2, 4: 3}
    assert [order[kind] for kind in by_verdict] == sorted((order[kind] for kind in by_verdict), reverse=True)
    by_alerts = pages(database, Wish(), "alerts", down=True, limit=9)
    assert by_alerts[0][1].value == 3


@pytest.mark.parametrize(
    ("wish", "fits"),
    [
        (Wish(project="p1"), lambda run, n: run["project"] == "p1"),
        (Wish(words="OTTER p2"), lambda run, n: run["name"].lower() == "otter" and n % 3 == 2),
        (Wish(words="run-01"), lambda run, n: 10 <= n < 20),
        (Wish(words="%"), lambda run, n: None),
        (Wish(words="_"), lambda run, n: False),
        (Wish(state="finished"), lambda run, n: n % 3 == 1),
        (Wish(state="silent"), lambda run, n: n % 3 == 0 and n % 4 == 3),
        (Wish(state="running"), lambda run, n: n % 3 == 0 and n % 4 < 3),
        (Wish(owner="ada"), lambda run, n: run["owner"] == "ada"),
        (Wish(words="grace"), lambda run, n: run["owner"] == "Grace"),
        (Wish(created_from=NOW - 2000.0, created_until=NOW - 1000.0), lambda run, n: n % 7 == 2),
        (Wish(ids=("run-003", "run-004", "nothing"), project="p0"), lambda run, n: n == 3),
    ],
)  # fmt: skip
def test_only_what_fits_is_listed_and_counted(database, many, wish, fits):
    found = {run.id for run, _ in pages(database, wish, "updated", down=True, limit=9)}
    if wish.words == "%":  # is a sign like any other: of the tag "b%"
        with database.reading() as session:
            tagged = {run_id for run_id, tag in session.query(Tag.run_id, Tag.tag) if "%" in tag}
        assert found == tagged != set()
        return
    assert found == {run["id"] for n, run in enumerate(many.values()) if fits(run, n)}
    with database.reading() as session:
        assert counted(session, wish, quiet_since=NOW - 2.5) == len(found)


def test_a_run_that_moves_between_two_pages_takes_no_other_with_it(database, many):
    with database.reading() as session:
        first = listed(session, Wish(), "updated", limit=30, quiet_since=0.0)
    with database.writing() as session:
        session.get_one(Run, first[-1][0].id).updated_at = (
            NOW + 50
        )  # the very one behind which the next page begins
    seen = [run.id for run, _ in first]
    behind = first[-1][1]
    with database.reading() as session:
        seen += [
            run.id
            for run, _ in listed(session, Wish(), "updated", limit=1000, behind=behind, quiet_since=0.0)
        ]
    assert sorted(seen) == sorted(many)


@pytest.mark.parametrize(
    "place",
    [Place(1.79e9, "r"), Place(0.1 + 0.2, "r"), Place(1e-07, "r"), Place(-(2**63), "r"), Place(3, "a.b-c_d"), Place("", "r"),
     Place("naïve ~ name", "r"), Place("-5", "r")],
)  # fmt: skip
def test_a_cursor_brings_back_the_very_place(place):
    order = "name" if isinstance(place.value, str) else "updated"
    assert read_cursor(write_cursor(place), order) == place


def test_a_cursor_of_another_order_is_refused(client, trainer):
    answer = client.get("/api/v1/runs", params={"sort": "name", "before": "1.5~run-1"})
    assert (answer.status_code, answer.json()["field"]) == (422, "before")


def test_the_first_page_says_how_many_there_are_and_which_families_stand_how(client, wire):
    for n in range(3):
        trainer = wire.Trainer(client, run=f"run-{n}")
        trainer.open(config={"max_steps": 400})
        trainer.send(1, [wire.rows(1, [1], [[n, 1.0]])], [wire.frame(1, ["loss", "gradient_norm"])])
    page = client.get("/api/v1/runs?limit=2").json()
    assert page["total"] == 3
    assert client.get("/api/v1/runs", params={"limit": 2, "before": page["next"]}).json()["total"] is None
    assert page["runs"][0]["families"] == [{"family": "training", "state": "fine"}]
    assert page["runs"][0]["planned_steps"] == 400
