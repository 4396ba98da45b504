"""What spent the entropy, whom the clip holds, and how near the simplex is: sums and means against ones taken by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from foreshock_server.figures import registry
from foreshock_server.figures.curves import curve
from foreshock_server.figures.ledger import QUADRANTS, binned
from foreshock_server.figures.scene import Scene, SeriesInfo
from foreshock_server.figures.style import THEMES

STEPS = 500


def info(statistic: str, family: str = "RL signal", **labels: str) -> SeriesInfo:
    text = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    return SeriesInfo(
        f"{statistic}{{{text}}}" if labels else statistic, statistic, family, labels.get("place", ""), labels
    )


LEDGER = [
    *(info("entropy_change_cell", probability=likely, advantage=sign) for likely, sign in QUADRANTS),
    info("entropy_change_predicted"),
    info("entropy_change_measured"),
]
BUCKETS = ("below-0.01", "0.01-0.1", "0.1-0.9", "above-0.9")
CENSUS = [
    *(info(name) for name in ("clip_high", "clip_low", "clip_dual")),
    *(info("clip_bucket", old=old, side=side) for side in ("high", "low") for old in BUCKETS),
    *(
        info("clip_cell", probability=likely, advantage=sign, side=side)
        for likely, sign in QUADRANTS
        for side in ("high", "low")
    ),
]
COLLAPSE = [
    info(name, "representation", place=place)
    for place in ("blocks.3", "head")
    for name in (
        "nc1",
        "nc2_equinorm",
        "nc2_equiangular",
        "nc3_duality",
        "nc4_agreement",
        "nearest_mean_accuracy",
    )
    if place == "head" or name != "nc4_agreement"
]
WHAT = {"entropy-ledger": LEDGER, "clip-census": CENSUS, "neural-collapse": COLLAPSE}


def drawn(name: str, theme: str = "light", steps: int = STEPS, scale: float = 1.0):
    panel = registry.find(name)
    chosen = panel.chosen(WHAT[name])
    random = np.random.default_rng(1)
    table = scale * random.normal(0, 1, (steps, len(chosen)))
    curves = tuple(curve(one, np.arange(steps), table[:, i], points=0) for i, one in enumerate(chosen))
    return panel.draw(Scene("run-1", theme, curves, last_step=steps - 1)), chosen, table


@pytest.mark.parametrize("name", WHAT)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("steps", [0, 1, 60, 5000])
def test_it_is_drawn_whatever_there_is(name, theme, steps):
    figure, _, _ = drawn(name, theme, steps)
    assert json.loads(figure.to_json())["data"]


def test_the_squares_are_the_sums_of_their_readings_and_say_so_in_words():
    figure, chosen, table = drawn("entropy-ledger")
    (squares,) = [trace for trace in figure.data if trace.type == "heatmap"]
    for i, one in enumerate(chosen[:4]):
        row, column = (
            ("low", "high").index(one.labels["probability"]),
            ("negative", "positive").index(one.labels["advantage"]),
        )
        assert squares.z[row][column] == pytest.approx(table[:, i].sum())
        assert squares.text[row][column].startswith(f"{table[:, i].sum():+.3g}".replace("-", "−"))
    spent = [text for row in squares.text for text in row if text.endswith("spent")]
    assert len(spent) == int((table[:, :4].sum(axis=0) < 0).sum())


def test_running_sums_end_at_the_sum_and_keep_it_however_thin():
    for steps in (STEPS, 20_000):
        figure, _chosen, table = drawn("entropy-ledger", steps=steps)
        lines = {trace.name: trace for trace in figure.data if trace.type == "scatter"}
        assert lines["predicted, all"].y[-1] == pytest.approx(table[:, 4].sum())
        assert lines["measured"].yaxis == "y2"
        assert lines["likely, A > 0"].y[-1] == pytest.approx(table[:, 0].sum())
        assert len(lines["measured"].x) <= 2001


def test_the_census_has_a_row_per_bucket_and_cell_with_their_means():
    figure, chosen, table = drawn("clip-census")
    (map_,) = [trace for trace in figure.data if trace.type == "heatmap"]
    edges, means = binned([curve(one, np.arange(STEPS), table[:, i]) for i, one in enumerate(chosen)][3:])
    assert map_.z.shape == (16, len(edges) - 1)
    cells = np.clip(np.searchsorted(edges, np.arange(STEPS), side="right") - 1, 0, len(edges) - 2)
    by_hand = [table[cells == cell, 3].mean() for cell in range(len(edges) - 1)]
    np.testing.assert_allclose(means[0], by_hand)
    names = figure.layout.yaxis3.ticktext
    assert names[0] == "above, π below 0.01"
    assert names[1] == "above, π 0.01 to 0.1"
    assert "below, unlikely A < 0" in names


def test_neural_collapse_is_of_the_place_that_is_told_most_about():
    figure, chosen, _table = drawn("neural-collapse")
    assert {one.place for one in chosen} == {"head"}
    lines = {trace.name: trace for trace in figure.data if trace.showlegend is not False}
    assert "width of the classes (NC1)" in lines
    assert lines["agrees with the nearest mean (NC4)"].yaxis == "y2"
    assert figure.layout.yaxis.type == "log"
    assert registry.find("neural-collapse").partial  # the other places keep their plain figures


def test_a_run_without_cells_has_no_ledger():
    assert registry.find("entropy-ledger").chosen(LEDGER[4:]) == []
    assert registry.find("neural-collapse").chosen([info("nc4_agreement", "representation")]) == []
