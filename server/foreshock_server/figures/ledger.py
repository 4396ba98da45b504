"""What spent the entropy, and whom the clip holds: token-level sums by probability and advantage, over the steps that are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from foreshock_server.figures import marks
from foreshock_server.figures.curves import POINTS
from foreshock_server.figures.curves import curve as thinned
from foreshock_server.figures.policy import right_axis
from foreshock_server.figures.registry import panel
from foreshock_server.figures.scene import Curve, Scene, SeriesInfo
from foreshock_server.figures.style import COLORBAR, DASHES, STEP, clear, colours, empty, unit_note

CELL = "entropy_change_cell"
LEDGER = (CELL, "entropy_change_predicted", "entropy_change_measured")
CENSUS = ("clip_high", "clip_low", "clip_dual", "clip_bucket", "clip_cell")
QUADRANTS = (("high", "positive"), ("high", "negative"), ("low", "positive"), ("low", "negative"))
WORDS = {"high": "likely", "low": "unlikely", "positive": "A > 0", "negative": "A < 0"}
TOP = 0.7  # of the height, from where on the squares stand
STRETCHES = 240  # of the map; more than a phone shows, fewer than a screen has pixels


def _ledger_series(series: Sequence[SeriesInfo]) -> list[SeriesInfo]:
    found = [info for info in series if info.statistic in LEDGER and info.labels.get("rank", "all") == "all"]
    return found if any(info.statistic == CELL for info in found) else []


@panel(
    "entropy-ledger", "What spent the entropy", "policy entropy", 15,
    "Implied entropy change by tokens, added up over the steps shown: likely or unlikely, rewarded or punished; below, how it"
    " went, with the sum that the updates imply and the change that was measured.",
    choose=_ledger_series, reads=LEDGER, whole=True, height=lambda _series: 420,
)  # fmt: skip
def entropy_ledger(scene: Scene) -> go.Figure:
    """Four squares of Σ ΔH over the steps, and beneath them the running sums; measured ΔH on a scale of its own."""
    c = colours(scene.theme)
    figure = empty(scene.theme, unit="Σ ΔH, nat per unit of learning rate")
    sums = {pair: _running(curve) for curve in scene.of(CELL) if (pair := _pair(curve)) in QUADRANTS}
    _squares(
        figure,
        scene.theme,
        {pair: float(total[-1]) if len(total) else 0.0 for pair, (_, total) in sums.items()},
    )
    for number, pair in enumerate(QUADRANTS):
        if pair in sums:
            _sum_line(
                figure, sums[pair], _name(pair), colour=c.series[number], dash=DASHES[number], width=1.75
            )
    predicted, measured = scene.one("entropy_change_predicted"), scene.one("entropy_change_measured")
    if predicted:
        _sum_line(figure, _running(predicted), "predicted, all", colour=c.ink, dash="solid", width=2.25)
    figure.update_layout(yaxis={"domain": [0, TOP - 0.14]}, xaxis={"anchor": "y"})
    if measured:
        _sum_line(
            figure, _running(measured), "measured", colour=c.muted, dash="longdash", width=2, yaxis="y2"
        )
        right_axis(figure, scene, "nat, measured", c.muted)
        figure.update_layout(yaxis2={"rangemode": "normal"})
    marks.alerts(figure, scene)
    marks.odd(figure, scene)
    for part in (*figure.layout.shapes, *figure.layout.annotations):
        _under_the_squares(part)
    return figure


def _under_the_squares(part: go.layout.Shape | go.layout.Annotation) -> None:
    """What spans the whole height of a figure spans that of the running sums."""
    if part.yref == "paper" and "y1" in part and part.y1 == 1:
        part.y1 = TOP - 0.14
    elif part.yref == "paper" and "y" in part and part.y == 1:
        part.y = TOP - 0.14


def _pair(curve: Curve) -> tuple[str, str]:
    labels = curve.info.labels
    return labels.get("probability", ""), labels.get("advantage", "")


def _name(pair: tuple[str, str]) -> str:
    return f"{WORDS[pair[0]]}, {WORDS[pair[1]]}"


def _running(curve: Curve) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps and the sum up to each: a reading that is no number adds nothing, and is marked."""
    steps, values = curve.finite
    order = np.argsort(steps, kind="stable")
    return steps[order], np.cumsum(values[order])


def _sum_line(
    figure: go.Figure,
    line: tuple[NDArray[np.int64], NDArray[np.float64]],
    name: str,
    *,
    colour: str,
    dash: str,
    width: float,
    yaxis: str = "y",
) -> None:
    """A sum is smooth enough to be thinned by taking every so-and-so-manieth point; the last one is always there."""
    steps, values = line
    every = 2 ** max(0, int(np.ceil(np.log2(max(len(steps), 1) / POINTS))))
    keep = np.union1d(np.arange(0, len(steps), every), [len(steps) - 1]) if len(steps) else np.arange(0)
    figure.add_trace(
        go.Scatter(
            x=steps[keep], y=values[keep], name=name, mode="lines", yaxis=yaxis,
            line={"color": colour, "dash": dash, "width": width}, hovertemplate="%{y:.4~g}",
        )
    )  # fmt: skip


def _squares(figure: go.Figure, theme: str, sums: Mapping[tuple[str, str], float]) -> None:
    """2 × 2; each says its sum in words too, so that nobody has to tell its colour."""
    c = colours(theme)
    spent = -sum(min(one, 0.0) for one in sums.values())
    z, words = np.full((2, 2), np.nan), [["", ""], ["", ""]]
    for row, probability in enumerate(("low", "high")):
        for column, advantage in enumerate(("negative", "positive")):
            one = sums.get((probability, advantage))
            if one is None:
                continue
            z[row, column] = one
            share = f"<br>{-one / spent:.0%} spent" if one < 0 < spent else "<br>gave back" if one > 0 else ""
            words[row][column] = f"{one:+.3g}{share}".replace("-", "−")
    most = float(np.nanmax(np.abs(z))) if np.isfinite(z).any() else 1.0
    figure.add_trace(
        go.Heatmap(
            x=[WORDS["negative"], WORDS["positive"]], y=[WORDS["low"], WORDS["high"]], z=z, xaxis="x2", yaxis="y3",
            zmin=-(most or 1.0), zmax=most or 1.0, showscale=False, xgap=3, ygap=3,
            colorscale=[[0, clear(c.series[1], 0.5)], [0.5, clear(c.surface, 0)], [1, clear(c.series[0], 0.5)]],
            text=words, texttemplate="%{text}", textfont={"size": 11, "color": c.ink},
            hovertemplate="%{y}, %{x}: %{text}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(
        xaxis2={
            "domain": [0, 1],
            "anchor": "y3",
            "side": "top",
            "fixedrange": True,
            "tickprefix": "",
            "showline": False,
        },
        yaxis3={
            "domain": [TOP, 0.94],
            "anchor": "x2",
            "fixedrange": True,
            "showgrid": False,
            "tickfont": {"size": 10},
        },
    )


_CLIPS = (
    ("clip_high", "rise clipped", 1, "solid"),
    ("clip_low", "fall clipped", 0, "dash"),
    ("clip_dual", "dual clip", 2, "dot"),
)


def _census_series(series: Sequence[SeriesInfo]) -> list[SeriesInfo]:
    return [info for info in series if info.statistic in CENSUS and info.labels.get("rank", "all") == "all"]


@panel(
    "clip-census", "Clip census", "RL signal", 12,
    "Whose gradient the clip cuts: the share of tokens, then by their probability when sampled, and by probability, advantage and"
    " side. Rare tokens that are kept from rising cost exploration.",
    choose=_census_series, reads=CENSUS, whole=True, height=lambda series: 300 + 13 * max(0, series - 3),
)  # fmt: skip
def clip_census(scene: Scene) -> go.Figure:
    """Shares of clipped tokens above; below, a row per bucket and per cell, a column per stretch of steps."""
    c = colours(scene.theme)
    figure = empty(scene.theme, unit="share of tokens")
    for statistic, name, colour, dash in _CLIPS:
        curve = scene.one(statistic)
        if curve:
            marks.line(figure, _thinner(curve), name, colour=c.series[colour], dash=dash, width=1.75)
    figure.update_yaxes(rangemode="tozero", autorangeoptions_include=[0, 0.01])
    parts = [*scene.of("clip_bucket"), *scene.of("clip_cell")]
    if parts:
        _parts(figure, parts)
    marks.alerts(figure, scene, level_of=scene.one("clip_high"))
    marks.odd(figure, scene)
    return figure


def _thinner(curve: Curve) -> Curve:
    """Of a curve with all its readings what can be seen of it."""
    return thinned(curve.info, curve.steps, curve.values)


def _parts(figure: go.Figure, parts: Sequence[Curve]) -> None:
    edges, means = binned(parts)
    rows = len(parts)
    share = min(0.6, 13 * rows / (300 + 13 * rows))
    figure.add_trace(
        go.Heatmap(
            x=edges, y=np.arange(rows), z=means.astype(np.float32), xaxis="x2", yaxis="y3", colorscale="Cividis",
            colorbar={**COLORBAR, "len": share, "y": 0, "yanchor": "bottom"}, hoverongaps=False,
            customdata=np.broadcast_to(np.arange(rows)[:, None], means.shape).copy(),
            hovertemplate="row %{y}, step %{x:.0f}: %{z:.3~g}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(
        xaxis={"anchor": "y", "showticklabels": False},
        xaxis2={"anchor": "y3", "matches": "x", "tickprefix": STEP, "showtickprefix": "first", "nticks": 7},
        yaxis={"domain": [share + 0.06, 1]},
        yaxis3={
            "domain": [0, share],
            "anchor": "x2",
            "autorange": "reversed",
            "showgrid": False,
            "automargin": True,
            "tickvals": list(range(rows)),
            "ticktext": [_part_name(curve.info) for curve in parts],
            "tickfont": {"size": 9},
        },
    )
    figure.add_annotation({**unit_note("by π when sampled; by quadrant", y=share), "xshift": 0})


def _part_name(info: SeriesInfo) -> str:
    side = {"high": "above", "low": "below"}.get(info.labels.get("side", ""), "")
    if info.statistic == "clip_bucket":
        return f"{side}, π {_bucket(info.labels.get('old', ''))}"
    return f"{side}, {WORDS.get(info.labels.get('probability', ''), '')} {WORDS.get(info.labels.get('advantage', ''), '')}"


def _bucket(old: str) -> str:
    """ "below-0.01" -> "below 0.01", "0.1-0.9" -> "0.1 to 0.9"."""
    return old.replace("-", " " if old[:1].isalpha() else " to ")


def binned(
    curves: Sequence[Curve], stretches: int = STRETCHES
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges on the step axis [C + 1] and the mean of each curve's readings between them [curves, C]; NaN where it has none."""
    finite = [curve.finite for curve in curves]
    steps = np.concatenate([steps for steps, _ in finite]) if finite else np.empty(0, np.int64)
    first, last = (int(steps.min()), int(steps.max())) if len(steps) else (0, 0)
    edges = np.linspace(first - 0.5, last + 0.5, min(stretches, max(1, len(np.unique(steps)))) + 1)
    means = np.full((len(curves), len(edges) - 1), np.nan)
    for row, (at, values) in enumerate(finite):
        cells = np.clip(np.searchsorted(edges, at, side="right") - 1, 0, means.shape[1] - 1)
        count = np.bincount(cells, minlength=means.shape[1])
        total = np.bincount(cells, values, minlength=means.shape[1])
        means[row, count > 0] = total[count > 0] / count[count > 0]
    return edges, means
