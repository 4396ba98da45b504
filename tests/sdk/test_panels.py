"""Figures of one's own: declared, registered in a notebook, brought by a package; and what is said when they are wrong."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from tests.sdk.served import PLACES, STEPS, Server, train

import foreshock
from foreshock.query import figures, panels
from foreshock.query.client import Client, ForeshockError


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("panels"))
    train(server, "run-1", name="brisk-otter")
    yield server
    server.close()


@pytest.fixture
def run(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(figures, "_OURS", {})
    client = Client(server.url)
    yield client.run("run-1")
    client.close()


@foreshock.panel("Ranks over entropy", needs=["policy_entropy"], also=["effective_rank"], whole=True)
def ranks(scene: Any) -> go.Figure:
    """What the tests draw."""
    figure = go.Figure()
    for curve in scene.of("policy_entropy", "effective_rank"):
        figure.add_scatter(x=curve.steps, y=curve.values, name=curve.info.key)
    return figure.update_layout(title=f"{scene.run} to {scene.last_step}")


def test_a_registered_function_draws_what_was_read(run, server):
    run.figures.register("ranks", ranks)
    figure = run.figure("ranks")
    assert [trace.name for trace in figure.data] == [
        "policy_entropy",
        *(f"effective_rank{{place={one}}}" for one in PLACES),
    ]
    entropy = run.series("policy_entropy").values
    finite = np.isfinite(entropy)
    np.testing.assert_array_equal(figure.data[0].y[finite], entropy[finite])
    assert np.isnan(
        figure.data[0].y[~finite]
    ).all()  # a line is broken at NaN and at infinities, as on the page
    assert figure.layout.title.text == f"run-1 to {STEPS - 1}"


def test_a_decorator_in_a_cell_registers_it_and_the_list_shows_it(run):
    @run.figures.register("mine", title="Mine", needs=["policy_entropy"], family="policy entropy")
    def mine(scene):
        return go.Figure(go.Scatter(y=scene.one("policy_entropy").finite[1]))

    [row] = [one for one in run.figures() if one["name"] == "mine"]
    assert (row["title"], row["family"], row["state"]) == ("Mine", "policy entropy", "here")
    assert len(run.figure("mine").data[0].y) <= 2100  # thinned, as the page's lines are

    @run.figures.register("mine", needs=["policy_entropy"])
    def mine_again(scene):
        return go.Figure()

    assert len(run.figure("mine").data) == 0  # a cell that is run again replaces what it made


def test_a_figure_of_the_notebook_says_that_it_gets_all_steps(run):
    run.figures.register("all", needs=["loss"])(lambda scene: go.Figure())
    with pytest.raises(ValueError, match="'all' is drawn here, by a function that gets all steps; first is"):
        run.figure("all", first=3)


def test_a_figure_whose_needs_are_not_there_says_so(run):
    run.figures.register("none", needs=["nothing_of_this"])(lambda scene: go.Figure())
    assert "none" not in [one["name"] for one in run.figures()]
    with pytest.raises(
        ForeshockError, match="brisk-otter has no nothing_of_this, which the figure 'none' needs"
    ):
        run.figure("none")


def test_wrong_declarations_say_what_to_write(run):
    with pytest.raises(TypeError, match=r"write a list: needs=\['policy_entropy'\]"):
        foreshock.panel("x", needs="policy_entropy")
    with pytest.raises(TypeError, match="names no statistic"):
        foreshock.panel("x", needs=[])
    with pytest.raises(TypeError, match=r"decorate the function with foreshock.panel"):
        run.figures.register("x", lambda scene: go.Figure())
    run.figures.register("x", needs=["policy_entropy"])(lambda scene: "no figure")
    with pytest.raises(TypeError, match=r"must return a plotly.graph_objects.Figure; it returned str"):
        run.figure("x")


def test_a_figure_of_a_package_that_only_the_notebook_has_is_drawn_here(run, monkeypatch, caplog):
    points = [
        EntryPoint("ranks", f"{__name__}:ranks", panels.GROUP),
        EntryPoint("broken", "no_such_module_of_ours:draw", panels.GROUP),
    ]
    monkeypatch.setattr(
        EntryPoint,
        "load",
        lambda point: ranks if point.name == "ranks" else __import__("no_such_module_of_ours"),
    )
    monkeypatch.setattr(panels, "entry_points", lambda group: points)
    assert len(run.figure("ranks").data) == 4
    assert "the figure broken (no_such_module_of_ours:draw) could not be loaded" in caplog.text
    with pytest.raises(ForeshockError, match="did you mean 'ranks'"):
        run.figure("rankz")


def test_one_is_the_whole_models_and_of_keeps_the_order():
    info = ("a", "b"), {"rank": "1"}
    made = [
        panels.Curve(panels.Info(key, "s", "f", place, labels, "", None), np.arange(2), np.ones(2))
        for key, place, labels in (
            ("s{place=a}", "a", {"place": "a"}),
            ("s{rank=1}", "", info[1]),
            ("s", "", {}),
        )
    ]
    scene = panels.Scene("r", "light", tuple(made), 1)
    assert scene.one("s") is made[2]
    assert scene.of("s") == made
    assert scene.one("t") is None
