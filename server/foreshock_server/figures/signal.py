"""Figures of the family RL signal: what pushes the policy, how far it went, and what it earned."""

from __future__ import annotations

import plotly.graph_objects as go

from foreshock_server.figures import marks
from foreshock_server.figures.policy import right_axis
from foreshock_server.figures.registry import panel
from foreshock_server.figures.scene import Curve, Scene
from foreshock_server.figures.style import colours, empty
from foreshock_server.laws.reading import REWARDS


@panel(
    "rl-signal", "Learning signal", "RL signal", 10,
    "Groups that earned all the same teach nothing; a covariance above zero spends entropy.",
    needs=("zero_variance_groups", "policy_cov"),
    also=("zero_variance_all_high", "zero_variance_all_low"),
)  # fmt: skip
def rl_signal(scene: Scene) -> go.Figure:
    """Shares of groups without variance on the left, the covariance of log-probability and advantage on the right."""
    c = colours(scene.theme)
    shares = [
        ("zero_variance_groups", "no variance", c.series[0], "solid"),
        ("zero_variance_all_high", "all right", c.series[2], "dash"),
        ("zero_variance_all_low", "all wrong", c.series[1], "dashdot"),
    ]
    drawn = [(scene.one(name), label, colour, dash) for name, label, colour, dash in shares]
    covariance = scene.one("policy_cov")
    figure = empty(scene.theme, unit="share" if any(curve for curve, *_ in drawn) else "")
    for curve, label, colour, dash in drawn:
        if curve:
            marks.line(figure, curve, label, colour=colour, dash=dash, width=1.75)
    if any(curve for curve, *_ in drawn):
        figure.update_yaxes(range=[0, 1.02])
    if covariance:
        own_axis = {"yaxis": "y2"} if any(curve for curve, *_ in drawn) else {}
        marks.line(figure, covariance, "covariance", colour=c.series[3], dash="dot", width=1.75, **own_axis)
        if own_axis:
            right_axis(figure, scene, "cov", c.series[3])
            figure.update_layout(yaxis2={"rangemode": "normal"})
    marks.alerts(figure, scene, level_of=drawn[0][0])
    marks.odd(figure, scene)
    return figure


@panel(
    "kl", "Distance from the reference", "RL signal", 20,
    "KL from the reference and from the policy that sampled. Read k3 below 0.1, k1 above.",
    needs=("kl_ref_k3", "kl_ref_k1", "kl_old_k3", "kl_old_k1"),
    also=("kl_ref_k2",),
)  # fmt: skip
def kl(scene: Scene) -> go.Figure:
    """The estimators k1, k2 and k3, of the reference solid and of the old policy dotted."""
    c = colours(scene.theme)
    figure = empty(scene.theme, unit="nat")
    styles = (
        ("kl_ref_k3", "reference, k3", c.series[0], "solid", 2.25),
        ("kl_ref_k1", "reference, k1", c.series[1], "dash", 1.25),
        ("kl_ref_k2", "reference, k2", c.series[4], "dashdot", 1.25),
        ("kl_old_k3", "old policy, k3", c.series[2], "dot", 1.75),
        ("kl_old_k1", "old policy, k1", c.series[3], "longdash", 1.25),
    )
    for statistic, label, colour, dash, width in styles:
        curve = scene.one(statistic)
        if curve:
            marks.line(figure, curve, label, colour=colour, dash=dash, width=width)
    marks.alerts(figure, scene, level_of=scene.one("kl_ref_k3"))
    marks.odd(figure, scene)
    return figure


@panel(
    "reward", "Reward and entropy", "RL signal", 5,
    "What the policy earns, and the entropy it pays with.",
    needs=REWARDS, also=("reward_std", "policy_entropy"),
)  # fmt: skip
def reward(scene: Scene) -> go.Figure:
    """Mean reward with one standard deviation on the left; entropy, where there is one, on the right."""
    c = colours(scene.theme)
    figure = empty(scene.theme, unit="reward")
    mean: Curve | None = next((curve for name in REWARDS if (curve := scene.one(name))), None)
    if mean:
        marks.line(figure, mean, "mean reward", colour=c.series[2], width=2.25)
    spread = scene.one("reward_std")
    if spread:
        marks.line(figure, spread, "standard deviation", colour=c.series[4], dash="dot", width=1.25)
    entropy = scene.one("policy_entropy")
    if entropy:
        marks.line(figure, entropy, "policy entropy", colour=c.series[0], dash="dash", width=1.5, yaxis="y2")
        right_axis(figure, scene, entropy.info.unit or "nat", c.series[0])
    marks.alerts(figure, scene)
    marks.odd(figure, scene)
    return figure
