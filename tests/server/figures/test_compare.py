"""Several runs on one axis: where each stands, their mean and range against numpy, what differs between them, and who is left out."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock_server.figures.aligned import Told, level_at, member, spread
from foreshock_server.figures.comparing import Bunch, Comparison, draw, height
from foreshock_server.figures.scene import SeriesInfo
from foreshock_server.models import Transition
from foreshock_server.query.comparison import differences, groups, is_seed
from foreshock_server.store.columns import Columns
from foreshock_server.store.overview import Overview

INFO = SeriesInfo("loss", "loss", "training", unit="nat")
BEGAN = 1.79e9


def found(values, first=0, every=1, seconds=2.0):
    values = np.asarray(values, np.float64)
    steps = first + every * np.arange(len(values))
    data = Columns(steps, BEGAN + seconds * steps, values, np.ones(len(values), np.int32))
    return Overview(data, len(values), int((~np.isfinite(values)).sum()))


def on(values, align="step", alert=None, **more):
    return member("r", "otter", BEGAN, INFO, found(values, **more), align, alert)


def test_steps_stay_times_are_hours_since_the_start_and_alerts_are_zero():
    values = [3.0, 2.0, 1.0, 0.5]
    told = Told(20, BEGAN + 3600)
    by_step = on(values, first=10, every=10, alert=told)
    assert by_step.curve.steps.tolist() == [10, 20, 30, 40]
    assert by_step.alert == 20
    by_time = on(values, "time", told, first=10, every=10, seconds=180.0)
    np.testing.assert_allclose(by_time.curve.steps, [0.5, 1.0, 1.5, 2.0])
    assert by_time.alert == 1
    by_alert = on(values, "alert", told, first=10, every=10)
    assert by_alert.curve.steps.tolist() == [-10, 0, 10, 20]
    assert by_alert.alert == 0
    assert on(values, "alert") is None


@pytest.mark.parametrize("align", ["step", "time", "alert"])
def test_every_reading_keeps_its_value_whatever_the_axis(align):
    values = np.random.default_rng(1).normal(size=120)
    values[50] = np.nan
    drawn = on(values, align, Told(7, BEGAN + 7)).curve
    assert drawn.finite[1].tolist() == values[np.isfinite(values)].tolist()
    assert len(drawn.odd_steps) == 1


def test_mean_and_range_are_those_of_numpy_where_all_runs_are():
    lines = [np.linspace(4, 1, 101), np.linspace(2, 1, 101), np.linspace(6, 4, 101)]
    both = spread([on(values, first=first) for values, first in zip(lines, (0, 10, -10), strict=True)])
    assert (both.x[0], both.x[-1]) == (10, 90)
    table = np.stack(
        [
            np.interp(both.x, first + np.arange(101), values)
            for values, first in zip(lines, (0, 10, -10), strict=True)
        ]
    )
    np.testing.assert_allclose(both.mean, table.mean(0), rtol=1e-12)
    np.testing.assert_allclose(both.low, table.min(0), rtol=1e-12)
    np.testing.assert_allclose(both.high, table.max(0), rtol=1e-12)


def test_noise_of_a_long_run_does_not_widen_the_range():
    draw_ = np.random.default_rng(2)
    runs = [on(level + draw_.normal(0, 0.5, 8000)) for level in (1.0, 2.0, 3.0)]
    both = spread(runs)
    assert abs(both.mean.mean() - 2.0) < 0.05
    assert both.low.min() > 0.8
    assert both.high.max() < 3.2


def test_runs_without_common_ground_have_no_mean():
    assert spread([on([1.0, 2.0]), on([1.0, 2.0], first=50)]) is None
    assert spread([on([1.0, 2.0, 3.0]), on([np.nan, np.nan])]) is None


def test_what_healthy_runs_did_is_told_where_half_of_them_are():
    band = spread(
        [on(np.ones(11)), on(2 * np.ones(21)), on(3 * np.ones(101)), on(4 * np.ones(101))], everywhere=False
    )
    assert (band.x[0], band.x[-1]) == (0, 100)
    assert (band.low[0], band.high[0]) == (1, 4)
    assert (band.low[-1], band.high[-1]) == (3, 4)


def test_a_mark_stands_on_the_line_of_its_run():
    assert level_at(on([0.0, 10.0]).curve, 0.5) == 5
    assert np.isnan(level_at(on([0.0, 10.0]).curve, 7))


@pytest.mark.parametrize("columns", [0, 1, 2, 3])
def test_each_run_has_a_colour_a_name_and_side_by_side_a_plot_of_its_own(columns):
    bunches = tuple(Bunch(f"run {n}", (on([1.0, 2.0, 3.0]),)) for n in range(4))
    figure = draw(Comparison(bunches, unit="nat"), columns)
    named = [trace for trace in figure.data if trace.name.startswith("run")]
    assert [trace.name for trace in named] == [f"run {n}" for n in range(4)]
    assert len({(trace.line.color, trace.line.dash) for trace in named}) == 4
    assert len({trace.xaxis for trace in named}) == (4 if columns else 1)
    assert figure.layout.height == height(4, columns)
    if columns:
        axes = [figure.layout[trace.yaxis.replace("y", "yaxis", 1)] for trace in named]
        assert len({axis.matches for axis in axes} - {None}) == 1, "one scale for all"
        drawn = {trace.xaxis.replace("x", "xaxis", 1) for trace in named}
        empty = [name for name in figure.layout if name.startswith("xaxis") and name not in drawn]
        assert all(figure.layout[name].visible is False for name in empty)


def test_seeds_are_a_mean_and_a_range_and_their_own_lines_faint():
    seeds = Bunch("lr=1", (on([1.0, 2.0, 3.0]), on([3.0, 4.0, 5.0])))
    figure = draw(Comparison((seeds,)))
    names = [trace.name for trace in figure.data]
    assert names == ["lr=1: range", "otter", "otter", "lr=1: mean of 2"]
    np.testing.assert_allclose(figure.data[-1].y[[0, -1]], [2, 4])


def test_settings_that_differ_are_named_with_their_values():
    configs = [
        {"lr": 1e-5, "opt": {"name": "adam", "b2": 0.99}, "seed": 1},
        {"lr": 1e-4, "opt": {"name": "adam"}, "seed": 1},
    ]
    differ, same = differences(configs)
    assert [tuple(one) for one in differ] == [("lr", ["1e-05", "0.0001"]), ("opt.b2", ["0.99", None])]
    assert same == 2


def test_runs_that_differ_in_seeds_alone_are_a_group():
    configs = [
        {"lr": 1, "seed": 1},
        {"lr": 2, "seed": 1},
        {"lr": 1, "seed": 2, "data": {"shuffle_seed": 4}},
        {"lr": 2, "seed": 9},
    ]
    assert [(one.label, one.members) for one in groups(configs)] == [("lr=1", [0, 2]), ("lr=2", [1, 3])]
    assert [is_seed(name) for name in ("seed", "data.seed", "random_seed", "seeded_from", "proceed")] == [
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.fixture
def three(client, wire):
    for n, seed in enumerate((1, 2, 3)):
        trainer = wire.Trainer(client, run=f"run-{n}")
        trainer.open(name=f"otter-{n}", config={"lr": 1e-5 if n < 2 else 1e-4, "seed": seed})
        trainer.send(
            1,
            [wire.rows(1, range(50), [[i + n, 1.0] for i in range(50)])],
            [wire.frame(1, ["loss", "policy_entropy"])],
        )
    return client


def ask(client, path="", **query):
    return client.get(f"/api/v1/compare{path}", params=query)


RUNS = ["run-0", "run-1", "run-2"]


def fire(client, run, step):
    with client.app.state.database.writing() as session:
        session.add(
            Transition(
                run_id=run, rule="loss-spike", series_id=1, episode=1, kind="fired", severity="critical", step=step, since_step=step,
                at=1e9 + step, created_at=1.0, detail={},
            )
        )  # fmt: skip


def test_what_can_be_compared_is_told(three):
    told = ask(three, run=RUNS).json()
    assert [run["id"] for run in told["runs"]] == RUNS
    assert told["config"] == {
        "differ": [
            {"name": "lr", "values": ["1e-05", "1e-05", "0.0001"]},
            {"name": "seed", "values": ["1", "2", "3"]},
        ],
        "same": 0,
    }
    assert told["groups"] == [{"label": "lr=1e-05", "runs": RUNS[:2]}, {"label": "otter-2", "runs": RUNS[2:]}]
    assert told["environment"] == {"differ": [], "same": 1}
    assert {(one["key"], one["runs"]) for one in told["series"]} == {("loss", 3), ("policy_entropy", 3)}


def test_the_figure_of_a_series_has_a_line_for_each_run(three):
    figure = ask(three, "/figure", run=RUNS, key="loss").json()
    assert [trace["name"] for trace in figure["data"]] == ["otter-0", "otter-1", "otter-2"]
    assert figure["layout"]["meta"]["left_out"] == []
    seeds = ask(three, "/figure", run=RUNS, key="loss", group="seeds").json()
    assert "lr=1e-05: mean of 2" in [trace["name"] for trace in seeds["data"]]


def test_runs_without_the_series_or_without_an_alert_are_named(three, wire):
    fire(three, "run-1", 20)
    by_alert = ask(three, "/figure", run=RUNS, key="loss", align="alert").json()
    assert [trace["name"] for trace in by_alert["data"]] == ["otter-1"]
    assert [one["run"] for one in by_alert["layout"]["meta"]["left_out"]] == ["run-0", "run-2"]
    assert ask(three, run=RUNS).json()["rules"][0]["rule"] == "loss-spike"
    other = ask(three, "/figure", run=RUNS, key="loss", align="alert", rule="another").json()
    assert other["data"] == []
    answer = ask(three, "/figure", run=RUNS, key="nothing")
    assert (answer.status_code, answer.json()["error"]) == (404, "UnknownFigure")


def test_healthy_runs_are_those_with_the_tag_else_those_that_ended_well(three, wire):
    for run in ("run-0", "run-1"):
        three.post(f"/api/v1/runs/{run}/attempts/1/finish", json={"state": "finished", "at": 1.79e9})
    name = "2 healthy runs, least to greatest"
    figure = ask(three, "/figure", run=["run-2"], key="loss", healthy="auto").json()
    assert figure["data"][0]["name"] == name
    three.patch("/api/v1/runs", json={"runs": ["run-1"], "add_tags": ["healthy"]})
    figure = ask(three, "/figure", run=["run-2"], key="loss", healthy="auto").json()
    assert figure["data"][0]["name"] == "1 healthy run, least to greatest"
    figure = ask(three, "/figure", run=["run-2"], key="loss", healthy=["run-0", "run-1"]).json()
    assert figure["data"][0]["name"] == name


@pytest.mark.parametrize("query", [{}, {"run": ["run-0"] * 21}, {"run": ["run-0", "nothing"]}])
def test_a_comparison_of_nothing_or_of_too_much_is_refused(three, query):
    assert ask(three, **query).status_code in (404, 422)
