"""The ceiling over HTTP: of what was stored, as JSON, as a figure, in a notebook; and the reason where there is none."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import plotly.io
import pytest

STEPS = 160


def one(statistic: str, family: str, unit: str = "", key: str | None = None, **labels: str) -> dict[str, Any]:
    return {
        "key": key or statistic, "statistic": statistic, "family": family, "unit": unit, "place": "", "labels": labels, "dtype": "f64",
    }  # fmt: skip


SERIES = [
    one("policy_entropy", "policy entropy", "nat"),
    one("policy_entropy", "policy entropy", "nat", key="policy_entropy{rank=1}", rank="1"),
    one("reward_mean", "RL signal"),
    one("score", "training"),
]


def values(random: np.random.Generator) -> np.ndarray:
    entropy = 1.2 * np.exp(-np.arange(STEPS) / 90)
    reward = 0.9 - 0.2 * np.exp(entropy) + random.normal(0, 0.01, STEPS)
    return np.stack([entropy, np.full(STEPS, 0.5), reward, 2 * reward], 1)


def numbers(stored: Any) -> list[float]:
    """A typed array of Plotly's JSON."""
    return np.frombuffer(base64.b64decode(stored["bdata"]), stored["dtype"]).tolist()


@pytest.fixture
def run(trainer: Any, wire: Any) -> Any:
    rows = wire.rows(1, range(STEPS), values(np.random.default_rng(0)), dtype="f64")
    trainer.send(1, [rows], [{"frame": 1, "series": SERIES}])
    return trainer


def test_the_ceiling_of_a_stored_run(run):
    told = run.get("/ceiling")
    assert (told["status"], told["reason"]) == ("fitted", None)
    assert (told["entropy"], told["reward"]) == ("policy_entropy", "reward_mean")  # the first rank's own
    fit = told["fit"]
    assert fit["ceiling"] == pytest.approx(0.7, abs=0.02)
    assert fit["low"] < fit["ceiling"] < fit["high"]
    assert (fit["level"], fit["left"]) == (0.95, None)
    assert told["message"].startswith("Ceiling of reward at this pace: 0.")
    assert told["pairs"] == STEPS
    assert len(told["path"]["steps"]) == len(told["path"]["entropy"]) == len(told["path"]["reward"])


def test_any_series_may_be_the_reward(run):
    assert run.get("/ceiling", reward="score")["fit"]["ceiling"] == pytest.approx(1.4, abs=0.04)


def test_a_run_that_is_held_is_told_why_nothing_is_told(trainer, wire):
    trainer.open(config={"actor": {"entropy_coeff": 0.01}})
    rows = wire.rows(1, range(STEPS), values(np.random.default_rng(0)), dtype="f64")
    trainer.send(1, [rows], [{"frame": 1, "series": SERIES}])
    told = trainer.get("/ceiling")
    assert (told["status"], told["reason"], told["fit"]) == ("withheld", "controlled", None)
    assert "actor.entropy_coeff=0.01" in told["message"]


def test_what_is_not_finite_is_said_in_json(run, wire):
    rows = wire.rows(
        1,
        range(STEPS, STEPS + 3),
        np.array([[math.nan, 0, 1, 1], [0.1, 0, math.inf, 1], [0.1, 0, 0.69, 1]]),
        dtype="f64",
    )
    run.send(2, [rows])
    assert run.get("/ceiling")["pairs"] == STEPS + 1


def test_what_a_resume_read_anew_counts_once(run, wire):
    again = wire.Trainer(run.client, attempt=2, writer="r0-bbbb")
    again.open()
    some = values(np.random.default_rng(1))[100:]
    again.send(1, [wire.rows(1, range(100, STEPS), some, dtype="f64")], [{"frame": 1, "series": SERIES}])
    assert run.get("/ceiling")["pairs"] == STEPS


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/ceiling?reward=nothing", 404, "no series 'nothing'"),
        ("/ceiling?entropy=", 404, "no series ''"),
    ],
)
def test_a_wrong_question_is_answered_with_what_to_ask_instead(run, path, status, says):
    answer = run.client.get(f"/api/v1/runs/run-1{path}")
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text


def test_a_run_without_reward_says_what_to_record(trainer, wire):
    trainer.send(
        1,
        [wire.rows(1, range(5), np.ones((5, 1)))],
        [{"frame": 1, "series": [{**SERIES[0], "dtype": "f32"}]}],
    )
    answer = trainer.client.get("/api/v1/runs/run-1/ceiling")
    assert answer.status_code == 404
    assert "rewards=r" in answer.json()["detail"]
    assert "ceiling" not in [figure["name"] for figure in trainer.get("/figures")["figures"]]
    assert trainer.client.get("/api/v1/runs/run-1/figures/ceiling").status_code == 404


def test_an_unknown_run_has_none(client):
    assert client.get("/api/v1/runs/nothing/ceiling").status_code == 404


@pytest.mark.parametrize("theme", ["light", "dark", "none"])
def test_the_figure_is_the_law(run, theme):
    listed = {figure["name"]: figure for figure in run.get("/figures")["figures"]}
    assert (listed["ceiling"]["family"], listed["ceiling"]["statistics"]) == (
        "RL signal",
        ["policy_entropy", "reward_mean"],
    )
    text = run.client.get(f"/api/v1/runs/run-1/figures/ceiling?theme={theme}").text
    assert plotly.io.from_json(text).data  # which checks every property
    figure = json.loads(text)
    told = run.get("/ceiling")
    traces = {trace["name"]: trace for trace in figure["data"]}
    assert numbers(traces["ceiling"]["y"]) == [told["fit"]["ceiling"]]
    assert numbers(traces["the run, first to last"]["x"]) == told["path"]["entropy"]
    (said,) = [note["text"] for note in figure["layout"]["annotations"] if note.get("name") == "law"]
    assert said.replace("<br>", ";", 1).startswith(told["message"].split(";")[0])


def test_the_figure_of_a_run_without_a_fit_says_why(trainer, wire):
    wild = {"entropy_coef": 1.0, "note": "<a href=x>"}
    trainer.open(config=wild)
    rows = wire.rows(1, range(STEPS), values(np.random.default_rng(0)), dtype="f64")
    trainer.send(1, [rows], [{"frame": 1, "series": SERIES}])
    figure = plotly.io.from_json(trainer.client.get("/api/v1/runs/run-1/figures/ceiling").text)
    assert [trace.name for trace in figure.data] == ["the run, first to last"]
    assert any("entropy_coef=1.0" in (note.text or "") for note in figure.layout.annotations)


def test_the_figure_of_a_run_that_left_the_curve_marks_where(trainer, wire):
    some = values(np.random.default_rng(0))
    some[100:, 2] += 0.2
    trainer.send(1, [wire.rows(1, range(STEPS), some, dtype="f64")], [{"frame": 1, "series": SERIES}])
    left = trainer.get("/ceiling")["fit"]["left"]
    assert (left["side"], left["step"]) == ("above", pytest.approx(100, abs=9))
    names = [trace["name"] for trace in trainer.get("/figures/ceiling")["data"]]
    assert f"off the curve since step {left['step']}" in names
