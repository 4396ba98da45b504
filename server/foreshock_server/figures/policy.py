"""Figures of the family policy entropy: how sure the policy is, and how fast it becomes so."""

from __future__ import annotations

import plotly.graph_objects as go

from foreshock_server.figures import marks
from foreshock_server.figures.registry import panel
from foreshock_server.figures.scene import Scene
from foreshock_server.figures.style import colours, empty, unit_note

CLIP = 1.9  # times the highest mean


@panel(
    "policy-entropy", "Policy entropy", "policy entropy", 10,
    "Mean over tokens, with their spread. The lines are the very numbers that the rules compare with.",
    needs=("policy_entropy",),
    also=("policy_entropy_p05", "policy_entropy_p25", "policy_entropy_p50", "policy_entropy_p80", "policy_entropy_p95"),
)  # fmt: skip
def policy_entropy(scene: Scene) -> go.Figure:
    """Mean H over the steps, quantile ribbons behind it, baseline, thresholds and forecast of its rules."""
    c = colours(scene.theme)
    mean = scene.one("policy_entropy")
    figure = empty(scene.theme, unit=mean.info.unit if mean else "")
    for low, high, name, alpha in (
        ("policy_entropy_p05", "policy_entropy_p95", "p5 to p95", 0.10),
        ("policy_entropy_p25", "policy_entropy_p80", "p25 to p80", 0.16),
    ):
        lower, upper = scene.one(low), scene.one(high)
        if lower and upper:
            marks.band(figure, lower, upper, name, colour=c.accent, alpha=alpha)
    median = scene.one("policy_entropy_p50")
    if median:
        marks.line(figure, median, "median", colour=c.muted, dash="dot", width=1.25)
    if mean:
        marks.line(figure, mean, "mean", colour=c.accent, width=2.25)
    figure.update_yaxes(rangemode="tozero")
    marks.alerts(figure, scene, level_of=mean)
    if mean and len(mean.finite[1]):
        # The upper tokens' entropy is several times the mean: the band may leave the plot so that the mean can be read.
        figure.update_layout(yaxis={"autorangeoptions": {"clipmax": CLIP * float(mean.finite[1].max())}})
    marks.odd(figure, scene)
    return figure


@panel(
    "policy-certainty", "Certainty", "policy entropy", 20,
    "How likely the likeliest token is, how many are as good as decided; varentropy: sure, or torn.",
    needs=("policy_top1", "policy_top1_above_99", "policy_varentropy"),
)  # fmt: skip
def policy_certainty(scene: Scene) -> go.Figure:
    """Top-1 probability and the share of decided tokens on the left, varentropy on the right."""
    c = colours(scene.theme)
    figure = empty(scene.theme, unit="share")
    for statistic, name, colour, dash in (
        ("policy_top1", "top-1 probability", c.series[0], "solid"),
        ("policy_top1_above_99", "tokens above 0.99", c.series[1], "dash"),
    ):
        curve = scene.one(statistic)
        if curve:
            marks.line(figure, curve, name, colour=colour, dash=dash)
    figure.update_yaxes(range=[0, 1.02])
    varentropy = scene.one("policy_varentropy")
    if varentropy:
        marks.line(figure, varentropy, "varentropy", colour=c.series[2], dash="dot", yaxis="y2")
        right_axis(figure, scene, varentropy.info.unit or "nat²", c.series[2])
    marks.alerts(figure, scene)
    marks.odd(figure, scene)
    return figure


def right_axis(figure: go.Figure, scene: Scene, unit: str, colour: str) -> None:
    """A second scale on the right for the curves that were drawn on y2."""
    figure.update_layout(
        yaxis2={"overlaying": "y", "side": "right", "showgrid": False, "rangemode": "tozero", "nticks": 6, "tickmode": "auto",
                "tickfont": {"color": colour, "size": 11}},
        margin={"r": 44},
    )  # fmt: skip
    figure.add_annotation(unit_note(unit, side="right", colour=colour))
