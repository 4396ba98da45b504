"""Reward against entropy, with the law that both obey while the entropy is spent: the curve, its band, and where it ends at H = 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go

from foreshock_server.figures import series
from foreshock_server.figures.scene import SeriesInfo
from foreshock_server.figures.style import clear, colours, empty, unit_note
from foreshock_server.laws.ceiling import Ceiling, Fit, Left
from foreshock_server.laws.reading import ENTROPY, REWARDS, chosen

NAME = "ceiling"
FINE = 101  # points of the curve


def choose(known: Sequence[SeriesInfo]) -> list[SeriesInfo]:
    """The entropy and the reward of the law; nothing when one of them is missing."""
    by_key = {info.key: info for info in known}
    names = [(info.key, info.statistic, len(info.labels)) for info in known]
    entropy, reward = chosen(names, ENTROPY), chosen(names, REWARDS)
    return [] if entropy is None or reward is None else [by_key[entropy], by_key[reward]]


def draw(law: Ceiling, theme: str) -> go.Figure:
    """Means of the run from first to last, the curve through them with its band, the ceiling; or why there is no curve."""
    c = colours(theme)
    figure = empty(theme, unit="reward")
    path = law.path
    if law.fit is not None:
        _curve(figure, law.fit, float(path.entropy.max()), c.accent)
    figure.add_trace(
        go.Scatter(
            x=path.entropy,
            y=path.reward,
            name="the run, first to last",
            mode="lines+markers",
            line={"color": clear(c.ink, 0.25), "width": 1},
            marker={"size": 6, "color": c.ink, "opacity": np.linspace(0.25, 1, max(1, len(path.steps)))},
            customdata=path.steps,
            hovertemplate="step %{customdata:,}: %{y:.4~g} at %{x:.3~g} nat<extra></extra>",
        )
    )
    if law.fit is not None:
        _end(figure, law.fit, c.series[2])
        if law.fit.left is not None:
            _off(figure, law, law.fit.left, c.warning)
    figure.add_annotation(
        text=law.message.replace(";", "<br>").replace(". ", ".<br>"), name="law", showarrow=False, align="right",
        x=1, y=1, xref="paper", yref="paper", xanchor="right", yanchor="top", font={"size": 11, "color": c.muted},
    )  # fmt: skip
    # From right to left the entropy is spent: time goes as one reads.
    figure.update_layout(
        hovermode="closest", xaxis={"tickprefix": "", "autorange": "reversed", "rangemode": "tozero"}
    )
    figure.add_annotation(
        {**unit_note("nat", side="right", y=0), "yanchor": "top", "yshift": -6, "xshift": 4}
    )
    return figure


def _curve(figure: go.Figure, fit: Fit, most: float, colour: str) -> None:
    entropy = np.linspace(0.0, most, FINE)
    middle, low, high = np.array([fit.at(float(one)) for one in entropy]).T
    figure.add_trace(
        go.Scatter(
            x=np.concatenate([entropy, entropy[::-1]]), y=np.concatenate([high, low[::-1]]), name="its interval, 95 %",
            mode="lines", line={"width": 0}, fill="toself", fillcolor=clear(colour, 0.15), hoverinfo="skip",
        )
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=entropy, y=middle, name=f"{fit.b:.3g} − {fit.a:.3g}·exp(H)", mode="lines",
            line={"color": colour, "width": 2, "dash": "dash"}, hovertemplate="%{y:.4~g} at %{x:.3~g} nat",
        )
    )  # fmt: skip


def _end(figure: go.Figure, fit: Fit, colour: str) -> None:
    below, above = fit.ceiling - fit.low, fit.high - fit.ceiling
    figure.add_trace(
        go.Scatter(
            x=np.array([0.0]), y=np.array([fit.ceiling]), name="ceiling", mode="markers",
            marker={"size": 9, "symbol": "diamond", "color": colour},
            error_y={"type": "data", "symmetric": False, "array": [above], "arrayminus": [below], "color": colour},
            hovertemplate=f"{fit.ceiling:.4g}, {fit.low:.4g} to {fit.high:.4g}",
        )
    )  # fmt: skip


def _off(figure: go.Figure, law: Ceiling, left: Left, colour: str) -> None:
    since = law.path.steps >= left.step
    figure.add_trace(
        go.Scatter(
            x=law.path.entropy[since], y=law.path.reward[since], name=f"off the curve since step {left.step:,}",
            mode="markers", marker={"size": 9, "symbol": "circle-open", "color": colour}, hoverinfo="skip",
        )
    )  # fmt: skip


CEILING = replace(
    series.SERIES,
    name=NAME,
    title="Reward against entropy",
    family="RL signal",
    order=6,
    about="R = −a·exp(H) + b (Cui et al. 2025, arXiv:2505.22617): what the reward comes to when all entropy is spent."
    " Told of runs whose entropy nobody holds.",
    choose=choose,
    leads=(),
)  # it is drawn from the law, not from a scene
