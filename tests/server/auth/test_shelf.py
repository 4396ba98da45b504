"""Who may say something about runs, and who owns a run that nobody says it of."""

from __future__ import annotations

import pytest

BOTH = {"runs": ["run-mine", "run-theirs"], "archived": True}


@pytest.fixture
def two(house):
    house.open("ingest-mine", "run-mine", "mine")
    house.open("boot", "run-theirs", "theirs")
    return house


def test_a_key_of_a_project_changes_its_own_runs_alone(two):
    answer = two.ask("admin-mine", "PATCH", "/runs", json=BOTH)
    assert answer.json() == {"changed": ["run-mine"], "unknown": ["run-theirs"]}
    assert two.ask("admin", "GET", "/runs/run-theirs").json()["archived"] is False


@pytest.mark.parametrize("who", ["read", "ingest", "read-mine"])
def test_who_only_looks_or_sends_changes_nothing(two, who):
    assert two.ask(who, "PATCH", "/runs", json=BOTH).status_code == 403
    assert two.ask("admin", "GET", "/runs/run-mine").json()["archived"] is False


def test_words_of_other_projects_are_not_seen(two):
    two.ask("admin", "PATCH", "/runs", json={"runs": ["run-theirs"], "add_tags": ["secret"], "owner": "eve"})
    assert two.ask("read-mine", "GET", "/tags").json() == {
        "tags": [],
        "owners": [{"name": "ingest-mine", "runs": 1}],
    }
    assert two.ask("read-mine", "GET", "/tags?project=theirs").status_code == 403


def test_a_run_belongs_to_the_key_that_opened_it(two):
    assert two.ask("read", "GET", "/runs/run-mine").json()["owner"] == "ingest-mine"
    assert two.ask("read", "GET", "/runs/run-theirs").json()["owner"] is None, "the settings' key is nobody's"


def test_runs_of_another_project_cannot_be_compared(two):
    for path in ("/compare?run=run-mine&run=run-theirs", "/compare/figure?key=loss&run=run-theirs"):
        assert two.ask("read-mine", "GET", path).status_code == 404
