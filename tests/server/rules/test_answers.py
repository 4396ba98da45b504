"""What the API says about alerts, rules and the verdict, over a run that was sent and evaluated."""

from __future__ import annotations

import math
import time

import pytest

from foreshock_server.query.verdict import COLLAPSING, FINE, NONE, SPIKE, WATCH, Episode, cut, paint
from foreshock_server.rules.evaluator import Evaluator

ENTROPY = {"family": "policy entropy", "unit": "nat"}
LOSS = {"family": "training", "unit": "nat"}


def frame(wire):
    return {
        "frame": 1,
        "series": [wire.series("policy_entropy", "f64", **ENTROPY), wire.series("loss", "f64", **LOSS)],
    }


def send(trainer, wire, entropy, loss, first=0, seq=1):
    steps = range(first, first + len(entropy))
    table = [list(pair) for pair in zip(entropy, loss, strict=True)]
    trainer.send(seq, [wire.rows(1, steps, table, dtype="f64")], [frame(wire)] if seq == 1 else [])


@pytest.fixture
def evaluate(client):
    state = client.app.state
    watcher = Evaluator(state.database, state.rules, state.bus, state.settings)

    def run():
        while watcher.run_once():
            pass

    return run


def falling(length, pace=60.0):
    return [0.8 * math.exp(-max(0, step - 40) / pace) for step in range(length)]


def test_a_run_without_readings_has_no_verdict(trainer):
    assert trainer.get("/verdict") == {
        "verdict": "none",
        "message": None,
        "lead": None,
        "firing": 0,
        "bins": [],
        "families": [],
    }
    assert trainer.get("/alerts") == {"alerts": [], "transitions": []}


@pytest.mark.parametrize("path", ["/alerts", "/verdict"])
def test_a_run_that_is_not_there_is_said_to_be_so(client, path):
    assert client.get(f"/api/v1/runs/nobody{path}").json()["error"] == "UnknownRun"


def test_a_healthy_run_is_fine(trainer, wire, evaluate):
    send(trainer, wire, [0.8] * 100, [1.0] * 100)
    evaluate()
    verdict = trainer.get("/verdict", bins=10)
    assert verdict["verdict"] == "fine"
    assert verdict["message"] is None
    assert verdict["bins"][0] == [0, 9]
    assert verdict["bins"][-1] == [90, 99]
    assert verdict["families"] == [
        {"family": "policy entropy", "cells": ["fine"] * 10, "state": "fine"},
        {"family": "training", "cells": ["fine"] * 10, "state": "fine"},
    ]
    assert trainer.get("/alerts")["alerts"] == []


def test_a_collapse_is_told_from_watch_to_collapsing(trainer, wire, evaluate, client):
    send(trainer, wire, falling(80), [1.0] * 80)
    evaluate()
    verdict = trainer.get("/verdict", bins=8)
    assert verdict["verdict"] == "watch"
    assert verdict["message"].startswith("Policy entropy is falling fast since step ")
    assert verdict["lead"] == {"rule": "policy-entropy-collapse", "series": "policy_entropy"}

    send(trainer, wire, falling(200)[80:], [1.0] * 120, first=80, seq=2)
    evaluate()
    verdict = trainer.get("/verdict", bins=20)
    assert verdict["verdict"] == "collapsing"
    assert verdict["firing"] == 1
    assert verdict["message"].startswith("Policy entropy is collapsing since step ")
    cells = {one["family"]: "".join(cell[0] for cell in one["cells"]) for one in verdict["families"]}
    assert cells["training"] == "f" * 20
    assert cells["policy entropy"] == "f" * 7 + "w" * 5 + "c" * 8

    answer = trainer.get("/alerts")
    (alert,) = answer["alerts"]
    assert alert["rule"] == "policy-entropy-collapse"
    assert (alert["state"], alert["severity"], alert["family"]) == ("firing", "critical", "policy entropy")
    assert alert["series"] == alert["statistic"] == "policy_entropy"
    assert alert["unit"] == "nat"
    assert alert["since_step"] <= alert["fired_step"] < alert["step"] == 199
    assert alert["resolved_step"] is None
    assert alert["threshold"] == pytest.approx(0.2)
    assert alert["clear"] == pytest.approx(0.48)
    assert alert["runbook"]["try"][0]["source"]
    fired, escalated = answer["transitions"]
    assert (fired["kind"], escalated["kind"]) == ("fired", "escalated")
    assert fired["forecast"]["low_steps"] <= fired["forecast"]["high_steps"]
    assert fired["message"] != escalated["message"]

    across = client.get("/api/v1/alerts").json()["alerts"]
    assert [(one["run"], one["project"], one["rule"]) for one in across] == [
        ("run-1", "p", "policy-entropy-collapse")
    ]
    assert client.get("/api/v1/alerts", params={"state": "pending"}).json() == {"alerts": []}
    assert client.get("/api/v1/alerts", params={"project": "other"}).json() == {"alerts": []}


def test_the_training_process_learns_of_it_with_its_next_block(trainer, wire, evaluate):
    send(trainer, wire, falling(200), [1.0] * 200)
    evaluate()
    answer = trainer.post(trainer.block(2, [wire.rows(1, [200], [[0.05, 1.0]], dtype="f64")])).json()
    (alert,) = answer["alerts"]
    assert alert["rule"] == "policy-entropy-collapse"
    assert alert["series"] == "policy_entropy"
    assert alert["threshold"] == pytest.approx(0.2)
    assert alert["message"]


def test_a_spike_that_is_over_is_a_mark_and_no_verdict(trainer, wire, evaluate):
    loss = [1.0] * 500
    loss[250] = math.nan
    send(trainer, wire, [0.8] * 500, loss)
    evaluate()
    verdict = trainer.get("/verdict", bins=10)
    assert verdict["verdict"] == "fine"
    (training,) = [one for one in verdict["families"] if one["family"] == "training"]
    assert training["state"] == "fine"
    assert training["cells"] == ["fine"] * 5 + ["resolved-spike"] * 2 + ["fine"] * 3
    (alert,) = trainer.get("/alerts")["alerts"]
    assert (alert["rule"], alert["state"], alert["severity"]) == ("non-finite-loss", "ok", "critical")
    assert (alert["since_step"], alert["fired_step"], alert["resolved_step"]) == (250, 250, 300)
    assert alert["message"].startswith("Resolved: The loss is not finite (loss) at step 300")
    fired = trainer.get("/alerts")["transitions"][0]
    assert fired["value"] == "NaN"


def test_the_verdict_of_a_long_run_is_quick(trainer, wire, evaluate):
    send(trainer, wire, [0.8] * 1000, [math.nan if step % 120 == 7 else 1.0 for step in range(1000)])
    evaluate()
    began = time.perf_counter()
    verdict = trainer.get("/verdict", bins=2000)
    assert time.perf_counter() - began < 2.0
    assert len(verdict["bins"]) == 1000  # never narrower than a step


def test_rules_are_listed_with_everything_that_they_say(client):
    rules = {one["id"]: one for one in client.get("/api/v1/rules").json()["rules"]}
    collapse = rules["policy-entropy-collapse"]
    assert collapse["detector"]["kind"] == "forecast-drop"
    assert collapse["detector"]["share"] == 0.35
    assert collapse["runbook"]["try"][0]["basis"] == "paper"
    assert collapse["origin"] == "built-in"
    assert collapse["matches"] == [
        {"statistic": "policy_entropy", "family": "*", "place": "*", "rank": None, "labels": {}}
    ]


# --- the strip


@pytest.mark.parametrize(
    ("first", "last", "wanted", "cells"),
    [
        (0, 9, 2, [(0, 4), (5, 9)]),
        (0, 9, 3, [(0, 2), (3, 5), (6, 9)]),
        (5, 5, 4, [(5, 5)]),
        (0, 2, 5, [(0, 0), (1, 1), (2, 2)]),
        (-3, 0, 2, [(-3, -2), (-1, 0)]),
    ],
)
def test_the_steps_are_cut_without_gap_or_overlap(first, last, wanted, cells):
    assert cut(first, last, wanted) == cells


def strip(*episodes, data=(0, 99), cells=10):
    """One letter per cell: - none, . fine, x spike, w watch, # collapsing."""
    letters = {NONE: "-", FINE: ".", SPIKE: "x", WATCH: "w", COLLAPSING: "#"}
    return "".join(letters[word] for word in paint(cut(0, 99, cells), data, episodes))


def episode(since, critical=None, ended=None):
    return Episode("f", since, critical, ended)


@pytest.mark.parametrize(
    ("episodes", "drawn"),
    [
        ((), ".........."),
        ((episode(35),), "...wwwwwww"),  # it goes on
        ((episode(95),), ".........w"),  # so far short, but not over
        ((episode(35, 62),), "...www####"),
        ((episode(35, 35),), "...#######"),
        ((episode(35, None, 79),), "...wwwww.."),  # over, but long: history
        ((episode(35, 52, 79),), "...ww###.."),
        ((episode(35, 35, 40),), "...xx....."),  # over and short: a spike, even a critical one
        ((episode(35, None, 54), episode(50)), "...xxwwwww"),  # the worst of a cell
        ((episode(95, None, 60),), "......wwww"),  # a resume went back
        ((episode(95, 96, 90),), ".........x"),
    ],
)
def test_a_cell_shows_the_worst_of_its_steps(episodes, drawn):
    assert strip(*episodes) == drawn


def test_where_a_family_has_no_readings_there_is_nothing():
    assert strip(data=(25, 64)) == "--.....---"
