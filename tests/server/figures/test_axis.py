"""Over steps, time or tokens; a range in all its detail; attempts, checkpoints and actions on every axis."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from foreshock_server.figures.axis import Event, Look, Ruler, axes_of, finish
from foreshock_server.figures.style import empty

PLAIN: dict[str, Any] = {"thinned": False, "keys": ["loss"]}


def numbers(stored: Any) -> list[float]:
    return np.frombuffer(base64.b64decode(stored["bdata"]), stored["dtype"]).tolist()


def figure() -> go.Figure:
    made = empty("light")
    made.add_trace(go.Scatter(x=np.array([0, 50, 100]), y=np.array([1.0, 2.0, 3.0]), name="loss"))
    made.add_trace(go.Bar(x=np.array([7.0]), y=np.array([0]), xaxis="x2", orientation="h"))
    made.update_layout(xaxis2={"anchor": "y"})
    made.add_shape(type="line", x0=50, x1=50, y0=0, y1=1, yref="paper", name="fired")
    made.add_shape(type="line", x0=0, x1=1, xref="paper", y0=2, y1=2, name="critical")
    made.add_annotation(x=100, y=1, yref="paper", text="there")
    return made


def test_a_step_lies_where_the_ruler_has_it_and_beyond_the_end_at_the_pace_of_the_whole():
    ruler = Ruler(" h", np.array([0.0, 100.0]), np.array([0.0, 2.0]))
    assert ruler.places([0, 25, 100, 150]).tolist() == [0.0, 0.5, 2.0, 3.0]
    assert np.isnan(ruler.places([np.nan])).all()  # the break of a line stays one
    assert Ruler(" h", np.array([7.0]), np.array([0.0])).places([7, 9]).tolist() == [0.0, 0.0]


def test_all_that_lies_on_the_axis_of_steps_moves_and_nothing_else():
    made = figure()
    ruler = Ruler(" h", np.array([0.0, 100.0]), np.array([0.0, 2.0]))
    finish(made, Look("time", 0, 50), ruler, [Event(50, "attempt", "attempt 2")], "light", **PLAIN)
    assert made.data[0].x.tolist() == [0.0, 1.0, 2.0]
    assert made.data[1].x.tolist() == [7.0]  # of another axis
    shapes = {shape.name: (shape.x0, shape.x1) for shape in made.layout.shapes}
    assert shapes == {"fired": (1.0, 1.0), "critical": (0, 1), "attempt 2": (1.0, 1.0)}
    assert made.layout.annotations[0].x == 2.0
    assert made.layout.xaxis.range == (0.0, 1.0)
    assert made.layout.xaxis2.range is None
    assert made.layout.xaxis.ticksuffix == " h"
    assert made.layout.meta["axes"] == ["xaxis"]
    assert made.layout.meta["ruler"] == {"steps": [0.0, 100.0], "at": [0.0, 2.0]}


def test_a_figure_without_an_axis_of_steps_is_left_alone():
    made = empty("light")
    made.update_layout(xaxis={"tickprefix": ""})
    finish(made, Look(), None, [Event(5, "checkpoint", "checkpoint at step 5")], "light", **PLAIN)
    assert axes_of(made) == []
    assert not made.data


STEPS = 6_000


def one(key: str, family: str = "training", **labels: str) -> dict[str, Any]:
    return {
        "key": f"{key}{{place={labels['place']}}}" if labels else key,
        "statistic": key, "family": family, "unit": "", "place": labels.get("place", ""), "labels": labels, "dtype": "f64",
    }  # fmt: skip


PLACES = [f"layer.{number}" for number in range(14)]
SERIES = [
    one("policy_entropy", "policy entropy"),
    one("loss"),
    one("tokens"),
    *(one("effective_rank", "representation", place=place) for place in PLACES),
]


@pytest.fixture
def run(trainer: Any, wire: Any) -> Any:
    """Steps two seconds apart, 512 tokens each; one spike of the loss at step 4,321; two checkpoints and an action."""
    steps = np.arange(STEPS)
    values = np.ones((STEPS, len(SERIES)))
    values[:, 0] = 0.8 + 0.01 * np.sin(steps)
    values[:, 1] = 1.0 + 0.001 * np.sin(steps / 3)
    values[4321, 1] = 9.0
    values[:, 2] = 512.0 * (steps + 1)
    rows = wire.rows(1, steps, values, dtype="f64", times=(1.7e9 + 2.0 * steps).tolist())
    done = wire.rows(2, [1000, 2000], np.array([[1.0, 0.0], [1.0, 1.0]]), dtype="f64")
    names = [one("checkpoint"), one("action/set lr/policy-entropy-collapse")]
    trainer.send(1, [rows, done], [{"frame": 1, "series": SERIES}, {"frame": 2, "series": names}])
    return trainer


def line(drawn: dict[str, Any], key: str) -> dict[str, Any]:
    return next(trace for trace in drawn["data"] if trace.get("meta") == key)


def test_a_range_has_all_its_detail_and_the_whole_keeps_its_spike(run):
    whole = run.get("/figures/series", key="loss")
    assert whole["layout"]["meta"]["thinned"] is True
    assert max(numbers(line(whole, "loss")["y"])) == 9.0
    assert len(numbers(line(whole, "loss")["x"])) < STEPS
    part = run.get("/figures/series", key="loss", first=4300, last=4400)
    assert numbers(line(part, "loss")["x"]) == list(range(4300, 4401))
    assert part["layout"]["xaxis"]["range"] == [4300, 4400]
    assert part["layout"]["meta"]["thinned"] is False
    assert part["layout"]["meta"]["keys"] == ["loss"]


def test_every_figure_of_a_range_and_of_an_empty_one_is_drawn_over_every_axis(run):
    listed = run.get("/figures")
    assert listed["axes"] == ["step", "time", "tokens"]
    for entry in listed["figures"]:
        for x in listed["axes"]:
            for first, last in ((100, 200), (9_000_000, 9_000_001)):
                asked = {"x": x, "first": first, "last": last, "key": entry.get("key", [])}
                answer = run.client.get(f"/api/v1/runs/run-1/figures/{entry['name']}", params=asked)
                assert answer.status_code in (200, 404), (entry["name"], answer.text)
                assert answer.status_code == 200 or first > STEPS, entry["name"]


def test_time_and_tokens_are_those_of_the_readings(run):
    hours = run.get("/figures/series", key="loss", x="time", first=0, last=30)
    assert hours["layout"]["xaxis"]["ticksuffix"] == " h"
    assert numbers(line(hours, "loss")["x"]) == pytest.approx([2 * step / 3600 for step in range(31)])
    tokens = run.get("/figures/series", key="loss", x="tokens", first=0, last=30)
    assert numbers(line(tokens, "loss")["x"]) == pytest.approx([512 * (step + 1) for step in range(31)])


def test_a_run_without_tokens_says_what_to_log(trainer, wire):
    trainer.send(
        1, [wire.rows(1, range(5), np.ones((5, 1)), dtype="f64")], [{"frame": 1, "series": [one("loss")]}]
    )
    assert trainer.get("/figures")["axes"] == ["step", "time"]
    answer = trainer.client.get("/api/v1/runs/run-1/figures/training?x=tokens")
    assert answer.status_code == 422
    assert "log a running total as `tokens`" in answer.json()["detail"]


def test_tokens_of_each_record_add_up(trainer, wire):
    table = np.stack([np.ones(50), np.full(50, 300.0)], 1)
    series = [one("loss"), one("policy_tokens", "RL signal")]
    trainer.send(1, [wire.rows(1, range(50), table, dtype="f64")], [{"frame": 1, "series": series}])
    x = numbers(line(trainer.get("/figures/series", key="loss", x="tokens"), "loss")["x"])
    assert x[-1] == pytest.approx(300 * 49, rel=0.03)


def test_checkpoints_and_what_was_done_are_marked_on_lines_and_on_maps(run):
    for name in ("policy-entropy", "effective-rank-map", "layers.effective_rank"):
        marks = {
            trace["name"]: trace
            for trace in run.get(f"/figures/{name}")["data"]
            if "×" in trace.get("name", "")
        }
        assert numbers(marks["checkpoint ×2"]["x"]) == [1000, 2000]
        assert numbers(marks["action ×1"]["x"]) == [2000]  # a dry run did nothing
        assert marks["action ×1"]["customdata"] == ["set lr for policy-entropy-collapse at step 2,000"]
    ranged = run.get("/figures/policy-entropy", first=1500, last=2500)
    assert "checkpoint ×1" in [trace["name"] for trace in ranged["data"]]


def test_a_map_of_shares_shows_its_range(run):
    drawn = run.get("/figures/effective-rank-map", first=3000, last=3100)
    (trace,) = [trace for trace in drawn["data"] if trace["type"] == "heatmap"]
    x = numbers(trace["x"])
    assert 3000 <= x[0] <= x[-1] <= 3100
    assert drawn["layout"]["meta"]["thinned"] is False


def test_a_range_that_ends_before_it_begins_is_refused(run):
    answer = run.client.get("/api/v1/runs/run-1/figures/training?first=9&last=3")
    assert answer.status_code == 422
    assert "exchange them" in answer.json()["detail"]
