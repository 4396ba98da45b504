"""Rules made on the page: every change is a row, nothing is overwritten, and workers heed them."""

from __future__ import annotations

import pytest
import yaml

from foreshock_server.rules.evaluator import Evaluator
from foreshock_server.rules.load import RuleSet, parse_pack
from foreshock_server.rules.own.book import Rulebook
from foreshock_server.rules.trial.cases import parse_cases
from foreshock_server.store import own_rules


def test_a_rule_is_made_changed_deleted_and_restored_and_nothing_is_forgotten(desk):
    made = desk.create(note="first")
    assert (made["rule"], made["version"], made["kind"]) == ("reward-falls", 1, "created")
    assert (made["project"], made["pack"], made["made_by"]) == (None, "yours", "somebody without a key")
    changed = desk.change(1, desk.text.replace("0.5", "0.4"), note="too loud")
    assert (changed["version"], changed["tests"]) == (2, "")
    desk.ask("DELETE", "/rules/own/reward-falls")
    assert desk.ask("GET", "/rules/own")["rules"] == []
    (gone,) = desk.ask("GET", "/rules/own?deleted=true")["rules"]
    assert gone["kind"] == "deleted"
    desk.change(3, status=404)
    desk.ask("DELETE", "/rules/own/reward-falls", 404)
    back = desk.ask("POST", "/rules/own/reward-falls/restore", version=1)
    assert (back["version"], back["text"], back["tests"]) == (4, desk.text, desk.tests)
    history = desk.ask("GET", "/rules/own/reward-falls")["history"]
    assert [(one["version"], one["kind"], one["note"]) for one in history] == [
        (4, "restored", "version 1 again"),
        (3, "deleted", ""),
        (2, "changed", "too loud"),
        (1, "created", "first"),
    ]
    assert [one["text"] == desk.text for one in history] == [True, False, False, True]


def test_who_changes_a_version_that_is_not_the_last_is_told(desk):
    desk.create()
    desk.change(1, desk.text.replace("0.5", "0.4"))
    refused = desk.change(1, status=409)
    assert (refused["error"], "version 2" in refused["detail"]) == ("RuleChanged", True)
    assert desk.ask("GET", "/rules/own/reward-falls")["version"] == 2


@pytest.mark.parametrize(
    ("more", "status", "field", "words"),
    [
        ({"text": "id: [", "tests": ""}, 422, "text", "line 1"),
        ({"tests": "tests: 1"}, 422, "tests", "tests"),
        ({"replaces": "no-such"}, 422, "replaces", "no rule of a file"),
        ({"pack": "a/b"}, 422, "pack", "pattern"),
        ({"project": "a\nb"}, 422, "project", "control character"),
    ],
)
def test_what_cannot_be_in_force_is_not_stored(desk, more, status, field, words):
    refused = desk.create(**{"text": desk.text, **more}, status=status)
    assert refused["field"].startswith(field)
    assert words in refused["detail"]
    assert desk.ask("GET", "/rules/own")["revision"] == 0


def test_an_id_is_taken_once(desk):
    desk.create()
    assert desk.create(status=409)["error"] == "RuleExists"
    builtin = desk.text.replace("reward-falls", "policy-entropy-collapse")
    assert desk.create(builtin, tests="", status=409)["error"] == "RuleExists"
    desk.ask("DELETE", "/rules/own/reward-falls")
    assert desk.create(status=409)["error"] == "RuleExists", "its history is still there"


def test_there_is_a_bound(desk, monkeypatch):
    monkeypatch.setattr(own_rules, "MOST_RULES", 1)
    desk.create()
    refused = desk.create(desk.text.replace("reward-falls", "other"), tests="", status=422)
    assert "delete some first" in refused["detail"]


def test_the_list_says_where_each_comes_from(desk):
    desk.create(project="grpo", pack="ours", replaces="policy-entropy-collapse")
    rules = {one["id"]: one for one in desk.ask("GET", "/rules")["rules"]}
    own = rules["reward-falls"]
    assert (own["origin"], own["pack"]) == ("made here", "ours")
    assert own["own"] == {"project": "grpo", "replaces": "policy-entropy-collapse"}
    assert rules["policy-entropy-collapse"]["own"] is None


def test_what_is_exported_is_a_pack_and_a_file_of_tests(desk, client):
    desk.create()
    second = desk.text.replace("reward-falls", "second-one").replace("# seen in three runs\n", "")
    desk.create(second, tests="", pack="others")
    answer = client.get("/api/v1/rules/export")
    assert answer.headers["content-type"].startswith("application/yaml")
    assert "# seen in three runs" in answer.text
    assert [one.id for one in parse_pack(answer.text, "rules.yaml").rules] == ["reward-falls", "second-one"]
    only = parse_pack(client.get("/api/v1/rules/export?pack=others").text, "o.yaml")
    assert ([one.id for one in only.rules], only.pack) == (["second-one"], "others")
    tests = client.get("/api/v1/rules/export?part=tests").text
    assert yaml.safe_load(tests)["pack"] == "yours.yaml"
    (case,) = parse_cases(tests, "tests.yaml").tests
    assert (case.rule, case.fires) == ("reward-falls", 10)
    assert parse_pack(client.get("/api/v1/rules/export?pack=none").text, "n.yaml").rules == []


# ---- in force


@pytest.fixture
def evaluator(database, bus, settings):
    return Evaluator(database, RuleSet((), {}), bus, settings, clock=lambda: 500.0, settle=1e9)


def test_a_live_worker_heeds_a_new_rule_a_change_and_its_end(desk, stored, evaluator):
    stored.block({"reward": [0.2] * 5})
    evaluator.run_once()
    assert stored.drawn() == []
    desk.create()
    stored.block({"reward": [0.2] * 5}, first=5)
    evaluator.run_once()  # in which it is noticed
    stored.block({"reward": [0.2] * 5}, first=10)
    evaluator.run_once()
    assert stored.drawn() == [("reward-falls", 1, 1, "fired", 10)]
    desk.change(1, desk.text.replace("0.5", "0.1"))
    evaluator.run_once()
    stored.block({"reward": [0.2] * 5}, first=15)
    evaluator.run_once()
    assert stored.drawn()[1:] == [("reward-falls", 1, 1, "resolved", 15)], "0.2 is well now"
    desk.change(2)
    evaluator.run_once()
    stored.block({"reward": [0.2] * 5}, first=20)
    evaluator.run_once()
    assert stored.alert("reward-falls").state == "firing"
    desk.ask("DELETE", "/rules/own/reward-falls")
    for _ in range(3):
        evaluator.run_once()  # nothing new comes from the run
    assert stored.alert("reward-falls").state == "ok"
    (last,) = [one for one in stored.transitions() if (one.episode, one.kind) == (2, "resolved")]
    assert "no longer in force" in last.detail["message"]


def test_what_was_judged_before_a_change_is_stored_and_not_judged_again(desk, stored, evaluator):
    desk.create()
    evaluator.run_once()
    stored.block({"reward": [1.0] * 5})
    evaluator.run_once()
    assert stored.evaluated() == {(1, "w"): 0}, "it may wait"
    desk.change(1, desk.text.replace("0.5", "2"))
    evaluator.run_once()
    assert stored.evaluated() == {(1, "w"): 1}
    for _ in range(2):
        evaluator.run_once()
    assert stored.drawn() == [], "what came before the change is not judged by it"


def test_a_worker_that_starts_does_not_resolve_what_fires(desk, stored, evaluator, database, bus, settings):
    desk.create()
    evaluator.run_once()
    stored.block({"reward": [0.2] * 5})
    evaluator.run_once()
    evaluator.close()
    another = Evaluator(database, RuleSet((), {}), bus, settings, clock=lambda: 500.0)
    stored.block({"reward": [0.2] * 5}, first=5)
    another.run_once()
    assert stored.drawn() == [("reward-falls", 1, 1, "fired", 0)]


def test_a_rule_of_one_project_watches_its_runs_alone_and_stands_in_for_another(
    desk, new_run, database, bus, settings
):
    base = parse_pack(
        "pack: p\nrules:\n" + "".join(f"  {'- ' if i == 0 else '  '}{line}\n" for i, line in enumerate(
            desk.text.replace("reward-falls", "of-a-file").splitlines()[1:]
        )),
        "file",
    )  # fmt: skip
    files = RuleSet(tuple(base.rules), {"of-a-file": "file"}, {"of-a-file": "p"})
    desk.client.app.state.rules = files
    desk.client.app.state.rulebook = Rulebook(files)
    desk.create(project="p", replaces="of-a-file")
    evaluator = Evaluator(database, files, bus, settings, clock=lambda: 500.0)
    mine, other = new_run("mine"), new_run("other", project="q")
    for run in (mine, other):
        run.block({"reward": [0.2] * 5})
    evaluator.run_once()
    assert [one[0] for one in mine.drawn()] == ["reward-falls"]
    assert [one[0] for one in other.drawn()] == ["of-a-file"]


def test_a_rule_that_this_release_cannot_read_is_left_out_and_said(desk, database, stored, evaluator):
    content = own_rules.Content("id: strange\ntitle: 1\n")
    with database.writing() as session:
        own_rules.append(session, "strange", "created", content, project=None, note="", made_by="x", now=0.0)
    desk.create()
    told = {one["rule"]: one["problem"] for one in desk.ask("GET", "/rules/own")["rules"]}
    assert told["reward-falls"] is None
    assert "title" in told["strange"]
    evaluator.run_once()
    stored.block({"reward": [0.2] * 5})
    evaluator.run_once()
    assert [one[0] for one in stored.drawn()] == ["reward-falls"]


def test_numbers_have_no_gaps_however_many_write(desk, database):
    from concurrent.futures import ThreadPoolExecutor

    def write(number: int) -> None:
        with database.writing() as session:
            own_rules.lock(session)
            own_rules.append(
                session, f"rule-{number}", "created", own_rules.Content("x"), project=None, note="", made_by="x", now=0.0
            )  # fmt: skip

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(24)))
    with database.reading() as session:
        found = own_rules.current(session)
        assert sorted(one.number for one in found) == list(range(1, 25))
        assert own_rules.revision(session) == 24
