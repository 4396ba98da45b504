"""Figures of packages beside the server: found by entry point, drawn on the page, and never able to take it down."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

import foreshock
from foreshock_server.figures import installed, registry


@foreshock.panel(
    "Entropy squared",
    needs=["policy_entropy"],
    also=["loss"],
    family="policy entropy",
    about="A test's.",
    order=11,
    height=222,
)
def squared(scene: Any) -> go.Figure:
    curve = scene.one("policy_entropy")
    return go.Figure(go.Scatter(x=curve.steps, y=curve.values**2, name=f"{curve.info.key} {scene.theme}"))


@foreshock.panel("Fails", needs=["policy_entropy"])
def fails(scene: Any) -> go.Figure:
    raise ZeroDivisionError("nothing to divide by")


@foreshock.panel("Wrong", needs=["policy_entropy"])
def wrong(scene: Any) -> str:
    return "no figure"


def plain(scene: Any) -> go.Figure:
    return go.Figure()


BROUGHT = {"squared": squared, "fails": fails, "wrong": wrong, "plain": plain}


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with these figures, one that was not declared, one whose module is gone, and one with a name of ours."""
    points = [EntryPoint(name, f"theirs:{name}", installed.GROUP) for name in BROUGHT]
    points += [
        EntryPoint("gone", "no_such:thing", installed.GROUP),
        EntryPoint("training", "theirs:squared", installed.GROUP),
    ]
    monkeypatch.setattr(installed, "declared", lambda: points)
    monkeypatch.setattr(EntryPoint, "load", lambda point: BROUGHT[point.value.partition(":")[2]])
    monkeypatch.setattr(registry, "_PANELS", dict(registry._PANELS))


@pytest.fixture
def run(beside: None, trainer: Any, wire: Any) -> Any:
    """A run with a policy entropy; the figures were found when its server began."""
    installed.register()
    series = [
        {
            "key": name,
            "statistic": name,
            "family": family,
            "unit": "",
            "place": "",
            "labels": {},
            "dtype": "f64",
        }
        for name, family in (("policy_entropy", "policy entropy"), ("loss", "training"))
    ]
    steps = np.arange(100)
    trainer.send(
        1,
        [wire.rows(1, steps, np.stack([steps / 100, np.ones(100)], 1), dtype="f64")],
        [{"frame": 1, "series": series}],
    )
    return trainer


def test_what_can_be_loaded_is_offered_once_and_the_rest_is_named(beside, caplog):
    assert installed.register() == ["squared", "fails", "wrong"]
    assert "the figure plain (theirs:plain) could not be loaded: it draws no figure yet" in caplog.text
    assert "the figure gone (no_such:thing) could not be loaded" in caplog.text
    assert (
        "the figure training (theirs:squared) could not be loaded: there is a figure 'training' already"
        in caplog.text
    )
    assert installed.register() == []


def test_it_stands_in_its_family_and_draws_what_was_stored(run):
    figures = run.get("/figures")["figures"]
    own = next(one for one in figures if one["name"] == "squared")
    assert (own["family"], own["title"], own["height"], own["about"]) == (
        "policy entropy",
        "Entropy squared",
        222,
        "A test's.",
    )
    names = [one["name"] for one in figures]
    assert names.index("squared") == names.index("policy-entropy") + 1
    drawn = run.get("/figures/squared", theme="dark", since="0")
    assert drawn["data"][0]["name"] == "policy_entropy dark"
    assert drawn["layout"]["height"] == 222
    again = run.get("/figures/squared", theme="dark", since=drawn["layout"]["meta"]["mark"])
    assert again["layout"]["meta"]["kept"] == [84]  # live, it sends only what is new, like ours
    assert (
        drawn["layout"]["template"] == run.get("/figures/policy-entropy", theme="dark")["layout"]["template"]
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fails", r"The figure 'fails' (theirs:fails) failed: ZeroDivisionError: nothing to divide by"),
        (
            "wrong",
            r"The figure 'wrong' (theirs:wrong) must return a plotly.graph_objects.Figure; it returned str.",
        ),
    ],
)
def test_one_that_fails_says_why_and_the_others_stand(run, name, said):
    answer = run.client.get(f"/api/v1/runs/{run.run}/figures/{name}")
    assert (answer.status_code, answer.json()["error"], answer.json()["detail"]) == (
        422,
        "FigureFailed",
        said,
    )
    assert run.get("/figures/policy-entropy")["data"]
    report = run.client.get(f"/api/v1/runs/{run.run}/report").text
    assert "ZeroDivisionError" in report
