"""What a backtest says of rules and runs: where they fired, how early, and in how many healthy runs."""

from __future__ import annotations

import json

import pytest

from foreshock_server.cli import main
from foreshock_server.errors import Invalid
from foreshock_server.rules.trial.asking import Bounds
from foreshock_server.rules.trial.backtest import Asked, backtest

DROP = """
    id: drop
    matches: [{statistic: entropy}]
    detector: {kind: threshold, below: 0.8, relative_to_baseline: true, baseline_records: 5}
    for_steps: 2
    keep_firing_steps: 3
"""
OTHER = """
    id: other
    matches: [{statistic: rank}]
    detector: {kind: threshold, below: 1}
"""


@pytest.fixture
def fallen(new_run):
    """Level 2 to step 20, 1.5 to step 40, 2 again to step 60."""
    run = new_run("fallen")
    run.block({"entropy": [2.0] * 20 + [1.5] * 20 + [2.0] * 20})
    return run


@pytest.fixture
def healthy(new_run):
    """Three of them, in one of which it fell too."""
    for number, low in enumerate((2.0, 1.9, 0.1)):
        new_run(f"healthy-{number}").block({"entropy": [2.0] * 20 + [low] * 10})


def of(found, rule="drop"):
    return next(one for one in found["rules"] if one["rule"] == rule)


@pytest.fixture
def rules(evaluator):
    return evaluator(DROP, OTHER).rules


def test_where_it_fired_how_early_and_in_how_many_healthy_runs(fallen, healthy, rules, database):
    asked = [Asked("fallen", outcome=52), *(Asked(f"healthy-{i}", healthy=True) for i in range(3))]
    found = backtest(database, rules, asked)
    drop = of(found)
    (run,) = drop["runs"]
    about = {
        name: run[name] for name in ("run", "watched", "fired_step", "since_step", "resolved_step", "lead")
    }
    assert about == {
        "run": "fallen",
        "watched": 1,
        "fired_step": 22,
        "since_step": 20,
        "resolved_step": 43,
        "lead": 30,
    }
    assert (run["severity"], run["series"], run["share_of_baseline"]) == ("warning", "entropy", 0.75)
    assert (run["firings"], run["places"], run["attempt"], run["critical_step"]) == (1, 1, 1, None)
    assert [(one["kind"], one["step"]) for one in run["transitions"]] == [("fired", 22), ("resolved", 43)]
    assert drop["healthy"] == {"runs": 3, "watched": 3, "steps": 90, "fired": 1, "fired_in": ["healthy-2"]}
    assert drop["summary"] == (
        "fired at 22, 75 % of baseline, lead 30 steps, resolved at 43, 1 of 3 healthy runs"
    )
    assert of(found, "other")["summary"] == "no run has a series for it"
    json.dumps(found, allow_nan=False)


def test_it_may_fire_after_the_outcome_or_never(fallen, new_run, rules, database):
    new_run("level").block({"entropy": [2.0] * 30})
    found = backtest(database, rules, [Asked("fallen", outcome=10), Asked("level", outcome=10)])
    first, second = of(found)["runs"]
    assert first["lead"] == -12
    assert first["summary"].startswith("fired at 22, 75 % of baseline, 12 steps after the outcome")
    assert (second["fired_step"], second["lead"], second["summary"]) == (None, None, "did not fire")
    assert of(found)["summary"] == "fired in 1 of 2 runs, median lead -12 steps"


def test_it_has_resolved_when_the_last_place_has(new_run, rules, database):
    run = new_run("two")
    run.block(
        {"entropy@a": [2.0] * 10 + [1.0] * 10 + [2.0] * 20, "entropy@b": [2.0] * 15 + [1.0] * 10 + [2.0] * 15}
    )
    (told,) = of(backtest(database, rules, [Asked("two")]))["runs"]
    assert (told["fired_step"], told["places"], told["firings"], told["resolved_step"]) == (12, 2, 2, 28)


def test_runs_are_found_by_name_within_the_project(fallen, rules, database):
    for name in ("brisk-otter", "p/brisk-otter"):
        assert backtest(database, rules, [Asked(name)], project="p")["runs"][0]["run"] == "fallen"
    for name, project in (("fallen", "q"), ("brisk-otter", "q"), ("nobody", None), ("a\0b", None)):
        with pytest.raises(Invalid, match=r"No run|NUL"):
            backtest(database, rules, [Asked(name)], project=project)


def test_a_name_of_several_runs_and_a_run_named_twice_are_refused(fallen, healthy, rules, database):
    with pytest.raises(Invalid, match="Several runs"):
        backtest(database, rules, [Asked("brisk-otter")])
    with pytest.raises(Invalid, match="named twice"):
        backtest(database, rules, [Asked("fallen"), Asked("fallen", healthy=True)])


def test_work_is_bounded_by_readings_and_by_time(fallen, rules, database):
    assert backtest(database, rules, [Asked("fallen")], bounds=Bounds(1000, 60.0))
    with pytest.raises(Invalid, match="more than 50 readings"):
        backtest(database, rules, [Asked("fallen")], bounds=Bounds(50))
    now = iter([0.0, *(100.0 for _ in range(100))])
    with pytest.raises(Invalid, match="longer than 60 seconds"):
        backtest(database, rules, [Asked("fallen")], bounds=Bounds(1e9, 60.0, clock=lambda: next(now)))


@pytest.fixture
def command(database_url, monkeypatch, tmp_path, pack_text, capsys):
    """Words after `foreshock rules` -> status, what was printed, what was complained about. `own.yaml` is a pack."""
    monkeypatch.setenv("FORESHOCK_DATABASE_URL", database_url)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text(pack_text(DROP, OTHER))

    def said(*words):
        capsys.readouterr()
        status = main(["rules", *words])
        return status, *capsys.readouterr()

    return said


def test_the_command_says_it_in_a_line(fallen, healthy, command):
    words = [
        "backtest",
        "own.yaml",
        "--runs",
        "fallen",
        "--healthy",
        "healthy-0,healthy-1",
        "--outcome",
        "52",
    ]
    status, said, _ = command(*words)
    assert status == 0
    assert said.splitlines() == [
        "drop: fired at 22, 75 % of baseline, lead 30 steps, resolved at 43, 0 of 2 healthy runs",
        "1 rule fired in none of these runs",
    ]
    status, said, _ = command(*words, "--json", "--rule", "drop")
    assert [one["rule"] for one in json.loads(said)["rules"]] == ["drop"]


def test_the_command_tells_each_of_several_runs(fallen, healthy, command):
    status, said, _ = command(
        "backtest",
        "own.yaml",
        "--runs",
        "fallen,healthy-0",
        "--healthy",
        "healthy-2",
        "--outcome",
        "fallen=30",
    )
    assert status == 0
    assert said.splitlines()[:4] == [
        "drop: fired in 1 of 2 runs, median lead 8 steps, 1 of 1 healthy runs",
        "  p/brisk-otter (fallen): fired at 22, 75 % of baseline, lead 8 steps, resolved at 43",
        "  p/brisk-otter (healthy-0): did not fire",
        "  fired in the healthy run p/brisk-otter (healthy-2)",
    ]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["own.yaml"], "--runs A,B"),
        (["gone.yaml", "--runs", "fallen"], "no pack 'gone.yaml'"),
        (["own.yaml", "--runs", "nobody"], "No run has the id or the name 'nobody'"),
        (["own.yaml", "--runs", "fallen", "--rule", "none"], "no rule 'none'"),
        (["own.yaml", "--runs", "fallen", "--outcome", "soon"], "write RUN=STEP"),
        (["own.yaml", "--runs", "fallen", "--outcome", "other=5"], "write RUN=STEP"),
    ],
)
def test_the_command_says_what_to_write_instead(fallen, command, words, complaint):
    status, _, complained = command("backtest", *words)
    assert status == 1
    assert complaint in complained


def test_over_http(fallen, healthy, client, pack_text):
    body = {
        "pack": pack_text(DROP),
        "runs": ["fallen"],
        "healthy": ["healthy-0", "healthy-1", "healthy-2"],
        "outcomes": {"fallen": 52},
    }
    answer = client.post("/api/v1/rules/backtest", json=body)
    assert answer.status_code == 200
    assert of(answer.json())["summary"].endswith("lead 30 steps, resolved at 43, 1 of 3 healthy runs")
    in_force = client.post("/api/v1/rules/backtest", json={"runs": ["fallen"]}).json()["rules"]
    assert [one["rule"] for one in in_force] == [
        one["id"] for one in client.get("/api/v1/rules").json()["rules"]
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "Name a run"),
        ({"runs": ["nobody"]}, "nobody"),
        ({"runs": ["fallen"], "pack": "rules: ["}, "not YAML"),
        ({"runs": ["fallen"], "pack": "pack: p\nrules: [&a {id: x}, *a]"}, "names another part"),
        ({"runs": ["fallen"], "pack": "[" * 5000}, "nested"),
        ({"runs": ["fallen"], "pack": "pack: 2001-13-45"}, "not YAML"),
        ({"runs": ["fallen"], "pack": "pack: 0x_"}, "not YAML"),
        ({"runs": ["fallen"], "pack": "pack: !!timestamp x"}, "not YAML"),
        ({"runs": ["fallen"], "pack": "pack: p\nrules: [{id: x}]"}, "`title` is missing"),
        ({"runs": ["fallen"], "rules": ["none"]}, "no rule 'none'"),
        ({"runs": ["fallen"], "outcomes": {"other": 5}}, "not among"),
        ({"runs": ["fallen"], "outcomes": {"fallen": 2**70}}, ""),
        ({"runs": ["x"] * 201}, ""),
        ({"runs": ["fallen"], "pack": "x" * 100_001}, ""),
        ({"runs": ["fallen"], "run": 1}, ""),
    ],
)
def test_over_http_what_cannot_be_is_a_422_with_a_sentence(fallen, client, body, said):
    answer = client.post("/api/v1/rules/backtest", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_one_is_worked_on_at_a_time(fallen, client):
    from foreshock_server.rules.trial.turns import turn

    with turn():
        answer = client.post("/api/v1/rules/backtest", json={"runs": ["fallen"]})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert client.post("/api/v1/rules/backtest", json={"runs": ["fallen"]}).status_code == 200
