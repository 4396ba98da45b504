"""Figures over HTTP: which there are, in which order, and that each is a valid figure of what was stored."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import plotly.io
import pytest

from foreshock_server.rules.evaluator import Evaluator

STEPS = 240
ENTROPY = np.r_[np.full(80, 0.8), 0.8 * np.exp(-np.arange(STEPS - 80) / 40)]


def one(statistic: str, family: str, unit: str = "", **labels: str) -> dict[str, Any]:
    text = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    key = f"{statistic}{{{text}}}" if labels else statistic
    about = {
        "statistic": statistic,
        "family": family,
        "unit": unit,
        "place": labels.get("place", ""),
        "labels": labels,
    }
    return {"key": key, "dtype": "f32", **about}


SERIES = [
    one("policy_entropy", "policy entropy", "nat"),
    one("gradient_norm", "optimiser"),
    one("loss", "training"),
    one("embedding_mood", "representation", place="views.a"),
]


@pytest.fixture
def run(trainer: Any, wire: Any) -> Any:
    """A run whose entropy collapses, and whose loss was NaN once."""
    steps = np.arange(STEPS)
    values = np.stack([ENTROPY, np.ones(STEPS), 1 / (steps + 1), np.full(STEPS, 0.5)], 1)
    values[30, 2] = np.nan
    trainer.send(1, [wire.rows(1, steps, values)], [{"frame": 1, "series": SERIES}])
    return trainer


@pytest.fixture
def evaluated(run: Any) -> Any:
    """The same, seen by the rules."""
    state = run.client.app.state
    Evaluator(state.database, state.rules, state.bus, state.settings).run_once()
    return run


def numbers(stored: Any) -> list[float]:
    """A typed array of Plotly's JSON."""
    return np.frombuffer(base64.b64decode(stored["bdata"]), stored["dtype"]).tolist()


def trace(figure: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in figure["data"] if one["name"].startswith(name))


def test_a_run_offers_the_figures_that_its_series_allow(run):
    figures = run.get("/figures")["figures"]
    assert [figure["name"] for figure in figures] == ["policy-entropy", "optimiser", "numerics", "training"]
    assert figures[0] == {
        "name": "policy-entropy",
        "title": "Policy entropy",
        "family": "policy entropy",
        "order": 10,
        "state": "fine",
        "about": figures[0]["about"],
        "height": 300,
        "wide": False,
        "statistics": ["policy_entropy"],
        "last": {"key": "policy_entropy", "value": pytest.approx(ENTROPY[-1], rel=1e-6), "unit": "nat"},
    }


def test_families_in_trouble_come_first_and_count_their_alerts(evaluated):
    answer = evaluated.get("/figures")
    states = {family["family"]: (family["state"], family["episodes"]) for family in answer["families"]}
    assert states["policy entropy"] == ("collapsing", 1)
    assert states["optimiser"] == ("fine", 0)
    assert answer["families"][0]["family"] == "policy entropy"
    assert answer["figures"][0]["state"] == "collapsing"


def test_what_is_drawn_is_what_was_stored(run):
    figure = run.get("/figures/policy-entropy")
    mean = trace(figure, "mean")
    assert numbers(mean["x"]) == list(range(STEPS))
    assert numbers(mean["y"]) == pytest.approx(ENTROPY.tolist(), rel=1e-6)
    assert plotly.io.from_json(run.client.get("/api/v1/runs/run-1/figures/policy-entropy").text).data


def test_the_lines_drawn_are_those_of_the_last_evaluation(evaluated):
    shapes = {shape["name"]: shape for shape in evaluated.get("/figures/policy-entropy")["layout"]["shapes"]}
    (alert,) = [one for one in evaluated.get("/alerts")["alerts"] if one["state"] == "firing"]
    assert shapes["critical policy-entropy-collapse"]["y0"] == alert["threshold"]
    assert shapes["falling policy-entropy-collapse"]["y0"] == alert["warn_level"]
    assert shapes["baseline policy-entropy-collapse"]["y0"] == alert["baseline"]
    shaded = [shape for shape in shapes.values() if shape["type"] == "rect"]
    assert min(shape["x0"] for shape in shaded) == alert["since_step"]
    assert max(shape["x1"] for shape in shaded) == STEPS - 1


def test_the_lines_of_a_rule_that_never_spoke_are_drawn_too(trainer, wire):
    trainer.send(1, [wire.rows(1, range(40), np.full((40, 1), 0.8))], [{"frame": 1, "series": SERIES[:1]}])
    state = trainer.client.app.state
    Evaluator(state.database, state.rules, state.bus, state.settings).run_once()
    assert trainer.get("/alerts")["alerts"] == []
    shapes = {
        shape["name"]: shape["y0"] for shape in trainer.get("/figures/policy-entropy")["layout"]["shapes"]
    }
    assert shapes["critical policy-entropy-collapse"] == pytest.approx(0.2)


def test_a_nan_is_drawn(run):
    assert numbers(trace(run.get("/figures/training"), "NaN")["x"]) == [30]


def test_an_alert_on_a_series_that_no_figure_shows_gets_one_of_its_own(trainer, wire):
    values = np.full((40, 4), 0.5)
    values[20:, 3] = np.nan
    trainer.send(1, [wire.rows(1, range(40), values)], [{"frame": 1, "series": SERIES}])
    state = trainer.client.app.state
    Evaluator(state.database, state.rules, state.bus, state.settings).run_once()
    own = [figure for figure in trainer.get("/figures")["figures"] if figure["name"] == "series"]
    assert [(figure["key"], figure["family"], figure["state"]) for figure in own] == [
        ("embedding_mood{place=views.a}", "representation", "watch")
    ]
    assert trainer.get("/figures/series", key=own[0]["key"])["data"]


def test_any_series_are_drawn_together(run):
    figure = run.get("/figures/series", key=["loss", "gradient_norm"])
    named = [one["name"].split(" ")[0] for one in figure["data"] if one.get("showlegend") is not False]
    assert named == ["loss", "gradient_norm", "NaN"]


def test_a_second_attempt_begins_where_it_resumed(run, wire):
    again = wire.Trainer(run.client, attempt=2, writer="r0-bbbb")
    again.open()
    again.send(1, [wire.rows(1, range(100, 200), np.full((100, 4), 0.7))], [{"frame": 1, "series": SERIES}])
    figure = run.get("/figures/policy-entropy")
    assert [shape["x0"] for shape in figure["layout"]["shapes"] if shape["name"] == "attempt 2"] == [100]
    y = numbers(trace(figure, "mean")["y"])
    assert len(y) == 100 + 1 + 100  # what the first attempt read from step 100 on is superseded
    assert np.isnan(y[100])


def test_a_theme_changes_the_template_and_not_the_data(run):
    light, dark, none = (
        run.get("/figures/policy-entropy", theme=theme) for theme in ("light", "dark", "none")
    )
    assert light["data"][0]["y"] == dark["data"][0]["y"] == none["data"][0]["y"]
    assert light["layout"]["template"] != dark["layout"]["template"]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/figures/entropy", 404, "no figure 'entropy'"),
        ("/figures/kl", 404, "no figure 'kl'"),
        ("/figures/series", 422, "needs ?key="),
        ("/figures/series?key=nothing", 404, "no series 'nothing'"),
        ("/figures/policy-entropy?theme=pink", 422, "theme"),
    ],
)
def test_a_wrong_question_is_answered_with_what_to_ask_instead(run, path, status, says):
    answer = run.client.get(f"/api/v1/runs/run-1{path}")
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text


def test_an_unknown_run_has_no_figures(client):
    assert client.get("/api/v1/runs/nothing/figures").status_code == 404
    assert client.get("/api/v1/runs/nothing/figures/kl").status_code == 404


def test_a_run_without_readings_has_none(trainer):
    assert trainer.get("/figures") == {"figures": [], "families": [], "axes": ["step", "time"]}
