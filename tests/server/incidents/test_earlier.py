"""Did it happen before? Counted by hand over a few runs of one project."""

from __future__ import annotations

import pytest

from foreshock_server.models import Run
from foreshock_server.query.earlier import earlier

WORLD = "p"


def bare(run: str, project: str, state: str, created_at: float, *, points: int) -> Run:
    """A run in which nothing fired."""
    return Run(
        id=run,
        project=project,
        name=run,
        config={},
        state=state,
        created_at=created_at,
        updated_at=1.0,
        points=points,
    )


@pytest.fixture
def history(database, world):
    """Five earlier runs of the project, one of another, one without a reading; the rule `dies` fired in the second and the fourth."""
    made = type(world)
    worlds = {}
    for number in range(1, 6):
        worlds[number] = one = made(database, f"old-{number}")
        with database.writing() as session:
            row = session.get_one(Run, one.run)
            row.created_at, row.points, row.name = 100.0 * number, 10, f"old-{number}"
    with database.writing() as session:
        session.get_one(Run, world.run).created_at = 10_000.0
        session.add(bare("empty", WORLD, "failed", 9_000.0, points=0))
        session.add(bare("alien", "q", "failed", 9_500.0, points=5))
        session.add(bare("later", WORLD, "running", 20_000.0, points=5))
    worlds[2].says("policy/dies!")
    worlds[4].says("policy/dies!", "policy/dies.", "policy/dies!")
    return worlds


def asked(database, world, *rules):
    with database.reading() as session:
        return earlier(session, session.get_one(Run, world.run), list(rules))


def test_the_runs_in_which_a_rule_fired_are_counted_and_the_last_is_named(database, world, history):
    found = asked(database, world, "dies", "never")
    assert found["runs"] == 5
    assert found["previous"] == {"run": "old-5", "name": "old-5"}
    assert found["rules"]["dies"] == {
        "fired": 2,
        "in_previous": False,
        "last": {"run": "old-4", "name": "old-4", "step": 1, "number": 1},
    }
    assert found["rules"]["never"] == {"fired": 0, "in_previous": False, "last": None}


def test_the_previous_run_is_said_to_have_had_it(database, world, history):
    history[5].says("policy/dies!")
    found = asked(database, world, "dies")["rules"]["dies"]
    assert (found["fired"], found["in_previous"], found["last"]["run"]) == (3, True, "old-5")


def test_a_deleted_run_is_no_history(database, world, history):
    with database.writing() as session:
        session.get_one(Run, "old-4").deleted_at = 1.0
    assert asked(database, world, "dies")["rules"]["dies"]["last"]["run"] == "old-2"


def test_the_first_run_of_a_project_has_none_before_it(database, world):
    assert asked(database, world, "dies") == {
        "runs": 0,
        "previous": None,
        "rules": {"dies": {"fired": 0, "in_previous": False, "last": None}},
    }
