"""Every registered figure, drawn: valid, quick, bounded, with the lines that the rules evaluate and every NaN in sight."""

from __future__ import annotations

import json
import time

import numpy as np
import plotly.io
import pytest

from foreshock_server.figures import registry, series
from foreshock_server.figures.curves import POINTS, curve
from foreshock_server.figures.representation import MOST_LINES, shares_of_start
from foreshock_server.figures.scene import Scene, SeriesInfo
from foreshock_server.figures.style import THEMES

NAMES = [panel.name for panel in registry.panels()]


def test_the_first_figures_are_there():
    wanted = {
        "policy-entropy",
        "policy-certainty",
        "rl-signal",
        "kl",
        "reward",
        "effective-rank",
        "effective-rank-map",
    }
    wanted |= {"representation", "optimiser", "numerics", "training", "monitor"}
    assert wanted <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_of_ten_thousand_steps_is_drawn_well_within_a_second(name, scene_of):
    registry.find(name).draw(scene_of(name))  # the first use of plotly loads its validators
    scene = scene_of(name, 10_000)
    began = time.perf_counter()
    figure = registry.find(name).draw(scene)
    text = figure.to_json()
    assert time.perf_counter() - began < 0.8
    assert plotly.io.from_json(text).data  # which checks every property
    assert "bdata" in text
    lengths = [len(trace.x) for trace in figure.data]
    assert max(lengths) <= 4.5 * POINTS  # a band has two borders, each of two points
    assert sum(length > 1.1 * POINTS for length in lengths) <= sum(
        "to" in (trace.name or "") for trace in figure.data
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_drawn_in_every_theme(name, scene_of):
    light, dark, none = (
        json.loads(registry.find(name).draw(scene_of(name, theme=theme)).to_json()) for theme in THEMES
    )
    assert (
        light["layout"]["template"]["layout"]["font"]["color"]
        != dark["layout"]["template"]["layout"]["font"]["color"]
    )
    assert "template" not in none["layout"] or not none["layout"]["template"].get("layout")


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_one_step_and_one_of_nothing_but_nan_are_drawn(name, scene_of):
    assert registry.find(name).draw(scene_of(name, 1)).data
    only_nan = scene_of(name, 5, spoil=lambda _info, read: np.full_like(read, np.nan))
    assert registry.find(name).draw(only_nan).data


@pytest.mark.parametrize("name", [name for name in NAMES if name != "effective-rank-map"])
def test_a_nan_is_seen_in_every_figure_that_reads_the_series(name, scene_of):
    def spoil(info, read):
        read = read.copy()
        read[137] = np.nan
        return read

    figure = registry.find(name).draw(scene_of(name, spoil=spoil))
    marks = [trace for trace in figure.data if (trace.name or "").startswith("NaN")]
    assert marks
    assert all(set(trace.x) == {137} and trace.marker.symbol == "x" for trace in marks)


def test_the_limits_drawn_are_the_limits_evaluated(scene_of, world):
    figure = registry.find("policy-entropy").draw(scene_of("policy-entropy"))
    lines = {
        shape.name: shape.y0
        for shape in figure.layout.shapes
        if shape.type == "line" and shape.y0 == shape.y1
    }
    rule = world.alert["rule"]
    assert lines == {
        f"baseline {rule}": world.alert["baseline"],
        f"falling {rule}": world.alert["warn_level"],
        f"critical {rule}": world.alert["threshold"],
        f"clear {rule}": world.alert["clear"],
    }


def test_alert_intervals_are_shaded_until_the_present(scene_of):
    figure = registry.find("policy-entropy").draw(scene_of("policy-entropy"))
    shaded = [(shape.name, shape.x0, shape.x1) for shape in figure.layout.shapes if shape.type == "rect"]
    assert shaded == [
        ("warning interval policy-entropy-collapse", 110, 200),
        ("critical interval policy-entropy-collapse", 200, 299),
    ]


def test_the_forecast_is_a_cone_from_the_level_to_its_target(scene_of):
    figure = registry.find("policy-entropy").draw(scene_of("policy-entropy"))
    (cone,) = [trace for trace in figure.data if trace.name == "forecast"]
    assert list(zip(cone.x, cone.y, strict=True)) == [(299, 0.21), (379, 0.15), (339, 0.15), (299, 0.21)]


def test_a_threshold_far_away_does_not_flatten_the_curve_unless_it_fires(scene_of, world):
    from dataclasses import replace

    from foreshock_server.figures.scene import limits

    far = {**world.alert, "rule": "explosion", "threshold": 90.0, "state": "ok", "forecast": None}
    scene = replace(scene_of("policy-entropy"), limits=limits([far]), forecasts=())
    figure = registry.find("policy-entropy").draw(scene)
    assert 90.0 in {shape.y0 for shape in figure.layout.shapes}
    assert not figure.layout.yaxis.autorangeoptions.include


def test_lines_differ_in_more_than_colour(scene_of):
    figure = registry.find("effective-rank").draw(scene_of("effective-rank"))
    lines = [trace for trace in figure.data if trace.showlegend is not False]
    assert len({trace.line.dash for trace in lines}) == len(lines) == MOST_LINES


def test_the_entropy_of_layers_is_drawn_beside_the_loss_on_a_scale_of_its_own(scene_of):
    figure = registry.find("matrix-entropy").draw(scene_of("matrix-entropy"))
    axes = {trace.name: trace.yaxis for trace in figure.data if trace.showlegend is not False}
    assert axes.pop("loss") == "y2"
    assert set(axes.values()) <= {None, "y"}
    assert len(axes) == MOST_LINES
    choose = registry.find("matrix-entropy").choose
    loss = SeriesInfo("loss", "loss", "training")
    assert choose([loss]) == []
    entropy = SeriesInfo("matrix_entropy{place=a}", "matrix_entropy", "representation", "a", {"place": "a"})
    assert choose([entropy, loss]) == [entropy, loss]
    assert choose([entropy]) == [entropy]


def test_few_places_have_no_map():
    info = [
        SeriesInfo(
            f"effective_rank{{place={place}}}", "effective_rank", "representation", place, {"place": place}
        )
        for place in "abc"
    ]
    assert registry.find("effective-rank-map").choose(info) == []
    assert len(registry.find("effective-rank").choose(info)) == 3


def test_a_cell_of_the_map_is_the_lowest_share_of_the_places_own_start():
    values = np.r_[np.full(50, 8.0), np.full(50, 2.0)]
    values[70] = 1.0
    edges, z = shares_of_start(
        [curve(SeriesInfo("k", "effective_rank", ""), np.arange(100), values)], columns=10
    )
    assert (len(edges), z.shape) == (11, (1, 10))
    assert z[0].tolist() == [1.0] * 5 + [0.25, 0.25, 0.125, 0.25, 0.25]


def test_non_finite_values_are_summed_over_places_and_the_worst_is_named():
    def info(place):
        return SeriesInfo(
            f"c{place}", "nonfinite_count", "numerics", place, {"place": place, "tensor": "gradient"}
        )

    steps = np.arange(3)
    scene = Scene(
        "r",
        curves=(
            curve(info("a"), steps, np.array([0.0, 2, 0])),
            curve(info("b"), steps, np.array([0.0, 5, 0])),
        ),
    )
    (trace,) = registry.find("numerics").draw(scene).data
    assert trace.y.tolist() == [0, 7, 0]
    assert list(trace.customdata) == ["", "in b", ""]


def test_a_logarithmic_axis_drops_no_zero_in_silence(scene_of):
    def spoil(info, read):
        return np.where(np.arange(len(read)) == 5, 0.0, read)

    figure = registry.find("optimiser").draw(scene_of("optimiser", spoil=spoil))
    gradient = next(trace for trace in figure.data if trace.name == "gradient")
    assert np.isnan(gradient.y[5])
    assert figure.layout.yaxis.type == "log"


def test_any_series_can_be_drawn(scene_of, world):
    for info in world.infos():
        scene = Scene("r", curves=(curve(info, np.arange(50), world.values(info, 50)),))
        assert series.draw(scene).data[0].meta == info.key


def test_a_second_figure_of_the_same_name_is_refused():
    with pytest.raises(ValueError, match="another name"):
        registry.panel("kl", "KL", "RL signal", 1, "again")(lambda _scene: None)
