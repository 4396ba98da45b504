"""What people say about runs: owner, tags, archived, thrown away and taken back; and that nothing recorded changes by it."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import select, update

from foreshock_server.bus import LocalBus
from foreshock_server.lifecycle.cleanup import Cleaner
from foreshock_server.models import Run, Tag
from foreshock_server.query.live import list_look
from foreshock_server.store.shelf import LONGEST_NOTE, MOST_TAGS, TRASH_SECONDS


@pytest.fixture
def three(client, wire):
    for i in range(3):
        trainer = wire.Trainer(client, run=f"run-{i}")
        trainer.open()
        trainer.send(1, [wire.rows(1, [1], [[i]])], [wire.frame(1, ["loss"])])
    return client


def change(client, runs, **wish):
    answer = client.patch("/api/v1/runs", json={"runs": runs, **wish})
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(client, **asked):
    return {run["id"] for run in client.get("/api/v1/runs", params=asked).json()["runs"]}


def one(client, run):
    return client.get(f"/api/v1/runs/{run}").json()


def test_a_note_is_kept_with_who_and_when_and_found(three):
    text = "Warm-up too short?\n\tSee run-2 & <b>bold</b>."
    assert change(three, ["run-0"], note=f"  {text}\n")["changed"] == ["run-0"]
    told = one(three, "run-0")
    assert (told["note"], told["note_by"]) == (text, None)  # nobody was asked for a key
    assert told["note_at"] == pytest.approx(time.time(), abs=60)
    assert ids(three, q="warm-UP short") == {"run-0"}
    assert change(three, ["run-0"], note=text)["changed"] == []
    assert (
        "Warm-up too short?\n\tSee run-2 &amp; &lt;b&gt;bold" in three.get("/api/v1/runs/run-0/report").text
    )
    assert change(three, ["run-0"], note="")["changed"] == ["run-0"]
    assert one(three, "run-0")["note"] is None
    assert ids(three, q="warm-up") == set()
    for wrong in ("a\x00b", "turned \u202e", "x" * (LONGEST_NOTE + 1)):
        assert three.patch("/api/v1/runs", json={"runs": ["run-0"], "note": wrong}).status_code == 422


def test_a_run_is_made_with_what_its_trainer_says_and_a_resume_changes_none_of_it(client):
    body = {"project": "p", "started_at": 5.0, "attempt": 1, "writer": "w", "owner": "ada", "tags": ["sweep"]}
    resumed = {**body, "attempt": 2, "owner": "eve", "tags": ["other"], "note": "no"}
    for said in ({**body, "note": " as planned "}, resumed):
        assert client.put("/api/v1/runs/told", json=said).status_code == 200
    told = one(client, "told")
    assert (told["owner"], told["tags"]) == ("ada", ["sweep"])
    assert (told["note"], told["note_by"], told["note_at"]) == ("as planned", "ada", 5.0)


def test_archived_runs_are_left_out_until_they_are_asked_for(three):
    assert change(three, ["run-0", "run-1"], archived=True) == {"changed": ["run-0", "run-1"], "unknown": []}
    assert ids(three) == {"run-2"}
    assert ids(three, archived="yes") == {"run-0", "run-1"}
    assert ids(three, archived="all") == {"run-0", "run-1", "run-2"}
    assert change(three, ["run-0", "run-2"], archived=False)["changed"] == ["run-0"]
    assert ids(three) == {"run-0", "run-2"}


def test_a_run_in_the_trash_is_out_of_all_lists_and_comes_back_as_it_was(three, wire):
    before = one(three, "run-0")
    change(three, ["run-0"], trashed=True)
    assert ids(three) == {"run-1", "run-2"}
    assert ids(three, trashed="true") == {"run-0"}
    assert ids(three, archived="all") == {"run-1", "run-2"}
    assert three.get("/api/v1/projects").json()["projects"][0]["runs"] == 2
    assert one(three, "run-0")["trashed_at"] == pytest.approx(time.time(), abs=60)
    trainer = wire.Trainer(three, run="run-0")
    assert trainer.send(2, [wire.rows(1, [2], [[7]])]) == 2, "what it records is stored all the same"
    assert change(three, ["run-0"], trashed=False)["changed"] == ["run-0"]
    after = one(three, "run-0")
    assert after["points"] == before["points"] + 1
    assert (after["trashed_at"], ids(three)) == (None, {"run-0", "run-1", "run-2"})


def test_the_trash_is_emptied_after_a_week_and_not_before(three):
    now = time.time()
    change(three, ["run-0", "run-1"], trashed=True)
    change(three, ["run-1"], trashed=False)
    clock = [now + TRASH_SECONDS - 3600]
    cleaner = Cleaner(three.app.state.database, LocalBus(), clock=lambda: clock[0])
    cleaner.run_once()
    assert three.get("/api/v1/runs/run-0").status_code == 200
    clock[0] = now + TRASH_SECONDS + 3600
    while cleaner.run_once():
        pass
    assert three.get("/api/v1/runs/run-0").status_code == 404
    assert three.get("/api/v1/runs/run-1").status_code == 200


def test_tags_are_added_and_taken_off_once_and_found(three):
    wish = {"add_tags": ["baseline", "lr sweep"]}
    assert change(three, ["run-0", "run-1"], **wish)["changed"] == ["run-0", "run-1"]
    assert change(three, ["run-0", "run-1"], **wish)["changed"] == []
    change(three, ["run-1"], add_tags=["Baseline 2"], remove_tags=["baseline"])
    assert one(three, "run-0")["tags"] == ["baseline", "lr sweep"]
    assert sorted(one(three, "run-1")["tags"]) == ["Baseline 2", "lr sweep"]
    assert ids(three, tag="baseline") == {"run-0"}
    assert ids(three, tag=["baseline", "lr sweep"]) == {"run-0"}
    assert ids(three, tag="lr sweep") == {"run-0", "run-1"}
    assert ids(three, q="baseline") == {"run-0", "run-1"}, "a search finds parts of tags, whatever their case"
    words = three.get("/api/v1/tags").json()
    assert {one["name"]: one["runs"] for one in words["tags"]} == {
        "Baseline 2": 1,
        "baseline": 1,
        "lr sweep": 2,
    }


def test_a_run_has_no_more_tags_than_can_be_read(three):
    for start in range(0, MOST_TAGS + 10, 20):
        change(three, ["run-0"], add_tags=[f"t{n}" for n in range(start, start + 20)])
    assert len(one(three, "run-0")["tags"]) == MOST_TAGS


def test_an_owner_is_told_changed_and_taken_away(three, wire):
    trainer = wire.Trainer(three, run="theirs")
    assert trainer.open(owner="ada", tags=["nightly", "nightly", "a100"]).status_code == 200
    assert one(three, "theirs")["owner"] == "ada"
    assert one(three, "theirs")["tags"] == ["a100", "nightly"]
    change(three, ["theirs", "run-0"], owner="grace")
    assert ids(three, owner="grace") == {"theirs", "run-0"}
    trainer.open(owner="ada", tags=["late"], attempt=2)
    assert one(three, "theirs")["owner"] == "grace", "people decide, a resume does not"
    assert one(three, "theirs")["tags"] == ["a100", "nightly"]
    assert change(three, ["theirs"], owner="")["changed"] == ["theirs"]
    assert one(three, "theirs")["owner"] is None


def test_ids_of_no_run_are_named_and_the_others_changed(three):
    three.delete("/api/v1/runs/run-2")
    found = change(three, ["run-0", "nothing", "run-2"], archived=True)
    assert found == {"changed": ["run-0"], "unknown": ["nothing", "run-2"]}


@pytest.mark.parametrize(
    "body",
    [
        {"runs": []},
        {"runs": ["run-0"], "archived": "yes"},
        {"runs": ["run-0"], "add_tags": [""]},
        {"runs": ["run-0"], "add_tags": ["a\u202eb"]},
        {"runs": ["run-0"], "add_tags": ["x" * 65]},
        {"runs": ["run-0"], "mood": "good"},
        {"runs": [f"run-{n}" for n in range(501)]},
    ],
)
def test_what_cannot_be_meant_is_refused(three, body):
    assert three.patch("/api/v1/runs", json=body).status_code == 422


def test_nothing_that_was_recorded_changes_and_open_lists_learn_of_it(three):
    state = three.app.state
    before = one(three, "run-0")
    look = list_look(state.database, state.settings, None, time.time() + 10)
    look()
    with state.database.writing() as session:  # long ago, as far as the run goes
        session.execute(update(Run).where(Run.id == "run-0").values(updated_at=before["updated_at"] - 1000))
    change(three, ["run-0"], archived=True)
    after = one(three, "run-0")
    assert after["updated_at"] == before["updated_at"] - 1000
    assert after["revision"] == before["revision"] + 1
    with state.database.writing() as session:
        session.execute(update(Run).where(Run.id == "run-0").values(noted_at=time.time() + 20))
    assert [event["data"]["run"] for event in look()] == ["run-0"]


def test_a_deleted_run_leaves_no_tag(three):
    change(three, ["run-0"], add_tags=["x"], owner="ada")
    three.delete("/api/v1/runs/run-0")
    cleaner = Cleaner(three.app.state.database, LocalBus())
    while cleaner.run_once():
        pass
    with three.app.state.database.reading() as session:
        assert session.scalars(select(Tag)).all() == []
        assert session.get_one(Run, "run-0").owner is None
