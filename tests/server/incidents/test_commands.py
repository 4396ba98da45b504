"""`foreshock silences` and `foreshock incidents`: what REST does, where no server need run."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from foreshock_server.cli import incidents, silences


@pytest.fixture(autouse=True)
def here(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FORESHOCK_DATABASE_URL", database_url)
    monkeypatch.setenv("FORESHOCK_DATA_DIR", str(tmp_path))


@pytest.fixture
def fired(world):
    world.now = time.time()
    world.channel()
    world.says("entropy/a@layer.1!", labels={"rank": "0"})
    return world


def test_a_silence_is_made_shown_and_lifted_and_mutes_meanwhile(world, client, capsys):
    world.now = time.time()
    world.channel()
    words = ["rule=a*", "place=layer.?", "labels.rank=0", "--for", "2h", "--reason", "known"]
    assert silences(["add", *words]) == 0
    number, said = capsys.readouterr()
    number = number.strip()
    assert f"foreshock silences lift {number}" in said
    [over_http] = client.get("/api/v1/silences").json()["silences"]
    assert (over_http["id"], over_http["reason"]) == (number, "known")
    assert over_http["matches"] == {"rule": "a*", "place": "layer.?", "labels": {"rank": "0"}}
    assert over_http["ends_at"] - over_http["created_at"] == pytest.approx(7200)
    world.says("entropy/a@layer.1!", labels={"rank": "0"})
    assert world.told() == []
    assert silences(["list"]) == 0
    assert re.search(
        rf"^{number} +rule=a\* place=layer.\? labels.rank=0 +all +20", capsys.readouterr().out, re.M
    )
    assert silences(["lift", number]) == 0
    world.later(10)
    assert world.told() == ["ops: fired a"]
    capsys.readouterr()
    assert silences(["list"]) == 0
    assert capsys.readouterr() == ("", "Nothing is silenced.\n")
    assert silences(["list", "--over"]) == 0
    assert " over " in capsys.readouterr().out


def test_a_silence_may_end_at_a_time_and_concern_one_project(world, client):
    until = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 7200))
    assert silences(["add", "rule=*", "--until", until, "--project", "q"]) == 0
    [one] = client.get("/api/v1/silences").json()["silences"]
    assert one["project"] == "q"
    assert one["ends_at"] == pytest.approx(time.time() + 7200, abs=90)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["add", "noisy", "--for", "2h"], "write for example: foreshock silences add rule=noisy-*"),
        (["add", "rules=a", "--for", "2h"], "rules: Extra inputs are not permitted."),
        (["add", "severity=loud", "--for", "2h"], "severity: Input should be 'warning', 'critical' or '*'."),
        (["add", "rule=a", "rule=b", "--for", "2h"], "'rule' is there twice"),
        (["add", "rule=a", "--for", "soon"], "--for takes a number and s, m, h or d, such as 2h"),
        (["add", "rule=a", "--for", "900d"], "--for: Input should be less than or equal to"),
        (["add", "rule=a", "--until", "soon"], "--until takes a time such as"),
        (["add", "rule=a", "--until", "2020-01-01"], "is over already"),
        (["lift", "x"], "No silence has this id"),
    ],
)
def test_what_says_nothing_sensible_is_refused_with_what_to_write(migrated_url, words, sentence, capsys):
    assert silences(words) == 1
    assert sentence in capsys.readouterr().err


def test_incidents_are_listed_shown_and_acknowledged(fired, capsys):
    assert incidents(["list"]) == 0
    assert re.search(r"^run-1 +1 +p / brisk-otter +entropy +warning .* open$", capsys.readouterr().out, re.M)
    assert incidents(["list", "--project", "q"]) == 0
    assert capsys.readouterr() == ("", "There is no such incident.\n")
    assert incidents(["acknowledge", "run-1", "1", "--by", "Alice"]) == 0
    assert "Acknowledged by Alice" in capsys.readouterr().out
    assert fired.incidents()[0].acknowledged_by == "Alice"
    assert incidents(["show", "run-1", "1"]) == 0
    shown = capsys.readouterr().out
    assert "p / brisk-otter: entropy, warning: acknowledged by Alice" in shown
    assert "still firing: a" in shown
    assert "fired to ops: waiting  a is fired." in shown
    assert incidents(["acknowledge", "run-1", "1", "--undo"]) == 0
    assert fired.incidents()[0].acknowledged_at is None
    fired.says("entropy/a@layer.1.")
    capsys.readouterr()
    assert incidents(["list", "--state", "all"]) == 0
    assert "over since 20" in capsys.readouterr().out
    assert incidents(["show", "run-1", "7"]) == 1
    assert "This run has no incident with this number" in capsys.readouterr().err
