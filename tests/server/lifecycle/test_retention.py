"""A project keeps its runs for as long as somebody said, and never loses one that may still be sending."""

from __future__ import annotations

import pytest

from foreshock_server.lifecycle.retention import DAY, expire, settle
from foreshock_server.models import Run, Writer
from foreshock_server.store import runs

NOW = 2e9


def add(
    database,
    run_id: str,
    project: str,
    *,
    days_ago: float,
    state: str = "finished",
    seen: float | None = None,
):
    with database.writing() as session:
        session.add(
            Run(
                id=run_id,
                project=project,
                name="",
                config={},
                state=state,
                created_at=1.0,
                updated_at=NOW - days_ago * DAY,
            )
        )
        if seen is not None:
            session.add(
                Writer(run_id=run_id, attempt=1, writer="w", lost={}, cost={}, seen_at=NOW - seen * DAY)
            )


def left(database) -> set[str]:
    with database.reading() as session:
        return {run.id for run in runs.list_runs(session)}


def keep(database, project: str, days: float | None) -> None:
    with database.writing() as session:
        settle(session, project, days, NOW)


def test_runs_past_their_projects_retention_go_and_no_others(database):
    add(database, "old", "short", days_ago=8)
    add(database, "young", "short", days_ago=6)
    add(database, "kept", "for good", days_ago=4000)
    add(database, "unsettled", "other", days_ago=4000)
    keep(database, "short", 7)
    keep(database, "for good", 7)
    keep(database, "for good", None)
    assert expire(database, NOW) == ["old"]
    assert expire(database, NOW) == []
    assert left(database) == {"young", "kept", "unsettled"}


@pytest.mark.parametrize(
    ("state", "days_ago", "seen", "goes"),
    [
        ("running", 0.5, 0.5, False),  # pausing: a running one gets a day
        ("running", 1.5, 1.5, True),
        ("finished", 0.5, 0.5, True),
        ("running", 30, 0.001, False),  # only repeats arrive, but it is there
        ("failed", 30, 0.001, False),
    ],
)
def test_a_run_that_may_still_be_sending_stays(database, state, days_ago, seen, goes):
    add(database, "r", "p", days_ago=days_ago, state=state, seen=seen)
    keep(database, "p", 0.1)
    assert expire(database, NOW) == (["r"] if goes else [])


def test_it_is_settled_over_http_and_listed(client, trainer):
    trainer.open()
    assert client.put("/api/v1/projects/p", json={"retention_days": 30}).json() == {
        "project": "p",
        "retention_days": 30,
    }
    assert client.put("/api/v1/projects/team/empty", json={"retention_days": None}).status_code == 200
    listed = client.get("/api/v1/projects").json()["projects"]
    assert [(one["project"], one["runs"], one["points"], one["retention_days"]) for one in listed] == [
        ("p", 1, 0, 30),
        ("team/empty", 0, 0, None),
    ]


@pytest.mark.parametrize("days", [0, -1, "soon", 1e9, float("inf")])
def test_a_retention_that_is_none_is_refused_with_the_field(client, days):
    body = '{"retention_days": Infinity}' if days == float("inf") else None
    answer = (
        client.put("/api/v1/projects/p", content=body, headers={"Content-Type": "application/json"})
        if body
        else client.put("/api/v1/projects/p", json={"retention_days": days})
    )
    assert (answer.status_code, answer.json()["error"]) == (422, "Invalid")
    assert answer.json()["field"] == "retention_days"
    assert client.put("/api/v1/projects/p", json={}).status_code == 422
