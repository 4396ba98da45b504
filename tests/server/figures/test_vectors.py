"""A vector over steps is a map of entries by steps with the latest reading beside it, and nobody else's figure changes."""

from __future__ import annotations

import base64
import itertools
import math

import numpy as np
import plotly.io
import pytest

from foreshock_server.figures import entries
from foreshock_server.figures.entries import entry_maps
from foreshock_server.store.columns import Columns
from foreshock_server.store.latest import list_series

AXIS = {"name": "expert", "size": 3}


def naive(steps, values, edges):
    """The mean of each entry's finite values between two edges."""
    z = []
    for entry in range(values.shape[1]):
        row = []
        for low, high in itertools.pairwise(edges):
            inside = [
                values[i, entry]
                for i, step in enumerate(steps)
                if low <= step < high and math.isfinite(values[i, entry])
            ]
            row.append(sum(inside) / len(inside) if inside else math.nan)
        z.append(row)
    return np.array(z)


def drawn_of(trainer):
    """The map of the run's only vector."""
    with trainer.client.app.state.database.reading() as session:
        found = entry_maps(session, trainer.run, list_series(session, trainer.run))
    ((line, drawn),) = found.values()
    return line, drawn


def columns(steps, values):
    return Columns(steps, steps * 1.0, values, np.ones(len(steps), np.int32))


@pytest.mark.parametrize("readings", [1, 7, 500])
def test_a_cell_is_the_mean_of_the_finite_values_of_its_steps(readings):
    rng = np.random.default_rng(readings)
    steps = np.sort(rng.choice(5000, readings, replace=False))
    values = rng.normal(size=(readings, 3)) + 1e9
    values[rng.random(values.shape) < 0.2] = math.nan
    values[:1, 0] = math.inf
    edges = np.linspace(-0.5, 5000.5, 100)
    whole, parts = entries.Stretches(AXIS, edges), entries.Stretches(AXIS, edges)
    whole.add(columns(steps, values))
    for part in np.array_split(rng.permutation(readings), 5):
        parts.add(columns(steps[part], values[part]))
    for drawn in (whole.drawn(), parts.drawn()):
        np.testing.assert_allclose(drawn.means, naive(steps, values, edges), rtol=1e-12)
        np.testing.assert_array_equal(drawn.last, values[-1])
        assert (drawn.axis, drawn.names, drawn.last_step) == ("expert", ("0", "1", "2"), steps[-1])


@pytest.mark.parametrize("at_once", [10**6, 40])
def test_a_long_vector_is_drawn_in_portions(trainer, wire, monkeypatch, at_once):
    monkeypatch.setattr(entries, "AT_ONCE", at_once)
    values = np.random.default_rng(1).normal(size=(300, 3)).astype(np.float32)
    frames = [{"frame": 1, "series": [wire.series("v", axis=AXIS)]}]
    for seq, part in enumerate(np.split(np.arange(300), 3), 1):
        trainer.send(seq, [wire.rows(1, part, values[part])], frames if seq == 1 else [])
    line, drawn = drawn_of(trainer)
    assert drawn.means.shape == (3, 240)
    np.testing.assert_allclose(drawn.means, naive(np.arange(300), values.astype(float), drawn.edges))
    np.testing.assert_array_equal(drawn.last, values[-1])
    np.testing.assert_allclose(line.values, values.astype(float).mean(1))
    assert line.steps.tolist() == list(range(300))


def test_a_vector_that_has_no_reading_yet_is_an_empty_map(trainer, wire):
    trainer.send(1, [], [{"frame": 1, "series": [wire.series("v", axis=AXIS)]}])
    line, drawn = drawn_of(trainer)
    assert (len(line), drawn.means.shape, drawn.last_step) == (0, (3, 0), None)


def array(packed):
    """A typed array of Plotly's JSON."""
    flat = np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"])
    return flat.reshape([int(size) for size in str(packed.get("shape", len(flat))).split(",")])


def series(wire, statistic, place, **more):
    labels = {"place": place} if place else {}
    key = f"{statistic}{{place={place}}}" if place else statistic
    family = "experts" if place else "training"
    return {**wire.series(statistic, **more), "key": key, "family": family, "place": place, "labels": labels}


@pytest.fixture
def run(trainer, wire):
    """Two routers of three experts, a histogram with named bins, and a statistic that is a number in one place and old in another."""
    described = [
        series(wire, "expert_load", "moe.0", axis=AXIS),
        series(wire, "expert_load", "moe.1", axis=AXIS),
        series(wire, "rewards", "", axis={"name": "bin", "size": 2, "ticks": [0.5, 1.5]}),
        series(wire, "expert_idle", "moe.0"),
    ]
    described += [
        {
            **series(wire, "expert_load", "moe.2"),
            "key": f"expert_load{{expert={e},place=moe.2}}",
            "labels": {"expert": str(e), "place": "moe.2"},
        }
        for e in range(2)
    ]
    steps = np.arange(50)
    values = np.arange(50 * 11, dtype=np.float32).reshape(50, 11)
    trainer.send(1, [wire.rows(1, steps, values)], [{"frame": 1, "series": described}])
    return trainer


def test_a_statistic_with_vectors_has_a_figure_of_its_entries(run):
    figures = {one["name"]: one for one in run.get("/figures")["figures"]}
    assert figures["entries.expert_load"]["statistics"] == ["expert_load"]
    assert figures["entries.expert_load"]["wide"]
    assert figures["entries.expert_load"]["title"].endswith(", by expert")
    assert "entries.rewards" in figures
    assert "statistic.expert_load" in figures  # of the old form, a series per expert
    assert "entries.expert_idle" not in figures
    drawn = plotly.io.from_json(run.client.get(f"/api/v1/runs/{run.run}/figures/entries.expert_load").text)
    maps = [trace for trace in drawn.data if trace.type == "heatmap"]
    bars = [trace for trace in drawn.data if trace.type == "bar"]
    assert [array(trace.z).shape for trace in maps] == [(3, 50), (3, 50)]
    np.testing.assert_array_equal(array(maps[1].z)[2], 5 + 11 * np.arange(50))
    np.testing.assert_array_equal(array(bars[1].x), [49 * 11 + 3, 49 * 11 + 4, 49 * 11 + 5])
    assert array(bars[1].y).tolist() == [3, 4, 5]
    names = list(drawn.layout.yaxis.ticktext)
    assert (names[0], names[-1]) == ("moe.0 expert 0", "moe.1 expert 2")


def test_a_vector_without_a_reading_takes_no_rows_beside_one_that_has_some(trainer, wire):
    described = [series(wire, "expert_task_load", place, axis=AXIS) for place in ("moe.0", "moe.1")]
    frames = [{"frame": number, "series": [one]} for number, one in enumerate(described, 1)]
    trainer.send(1, [wire.rows(2, np.arange(5), np.ones((5, 3), np.float32))], frames)
    where = f"/api/v1/runs/{trainer.run}/figures/entries.expert_task_load"
    drawn = plotly.io.from_json(trainer.client.get(where).text)
    assert list(drawn.layout.yaxis.ticktext) == [f"moe.1 expert {e}" for e in range(3)]


def test_the_old_form_is_drawn_from_numbers_alone(run):
    drawn = plotly.io.from_json(run.client.get(f"/api/v1/runs/{run.run}/figures/statistic.expert_load").text)
    assert {trace.type for trace in drawn.data} <= {"scatter", "scattergl"}
    assert {trace.name for trace in drawn.data if trace.name} == {"moe.2 expert=0", "moe.2 expert=1"}


def test_any_vector_can_be_drawn_by_its_key(run):
    where = f"/api/v1/runs/{run.run}/figures/series"
    alone = plotly.io.from_json(run.client.get(where, params={"key": "rewards"}).text)
    assert [trace.type for trace in alone.data] == ["heatmap", "bar"]
    assert list(alone.layout.yaxis.ticktext) == ["bin 0.5", "bin 1.5"]
    mixed = run.client.get(where, params={"key": ["rewards", "expert_idle{place=moe.0}"]})
    assert {trace.type for trace in plotly.io.from_json(mixed.text).data} <= {"scatter", "scattergl"}


def test_what_has_no_vectors_has_no_such_figure(run):
    answer = run.client.get(f"/api/v1/runs/{run.run}/figures/entries.expert_idle")
    assert (answer.status_code, answer.json()["error"]) == (404, "UnknownFigure")
