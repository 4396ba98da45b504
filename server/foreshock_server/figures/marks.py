"""Scene -> the parts every figure shares: lines, bands, alert intervals, the levels of the rules, forecasts, readings that are no numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from foreshock_server.figures.scene import Curve, Interval, Scene, merged, names
from foreshock_server.figures.style import DASHES, clear, colours

COURSE = "course"  # the meta of a line of medians; that of a line of readings is its series' key
FEW = 60  # a line of fewer points shows each of them
MOST_MARKS = 1000  # of one kind; the legend has the full count
CHUNK = 32  # points of a band's lower border that are one area: what is added to a band changes its last one alone
MOST_INTERVALS = 40  # an alert that flaps must not hide the curve under its own history

_ODD = (  # what a reading was, the symbol for it, and its height on the plot
    ("NaN", "x", 0.03),
    ("Infinity", "triangle-up", 0.97),
    ("-Infinity", "triangle-down", 0.03),
)

_LIMITS = {  # word, side of the line, dash
    "baseline": ("baseline", "bottom", "solid"),
    "warning": ("warning", "top", "dash"),
    "falling": ("warning while falling", "top", "dash"),
    "critical": ("critical", "bottom", "longdash"),
    "clear": ("resolves at", "top", "dot"),
}


def hover(unit: str, digits: str = ".4~g") -> str:
    """The text of one curve in the unified hover."""
    suffix = f" {unit}" if unit else ""
    return f"%{{y:{digits}}}{suffix}"


def line(
    figure: go.Figure,
    curve: Curve,
    name: str,
    *,
    colour: str,
    dash: str = "solid",
    width: float = 2,
    **more: Any,
) -> None:
    """One curve, broken where the stored series is. A dense one is faint, never hidden, under the line of its medians."""
    few, dense = len(curve.values) <= FEW, len(curve.course_values) > 0
    figure.add_trace(
        go.Scatter(
            x=curve.steps,
            y=curve.values,
            name=name,
            mode="lines+markers" if few else "lines",
            connectgaps=False,
            line={"color": clear(colour, 0.28), "width": 1}
            if dense
            else {"color": colour, "dash": dash, "width": width},
            marker={"size": 5, "color": colour},
            hovertemplate=hover(curve.info.unit),
            legendgroup=name,
            showlegend=not dense,
            meta=curve.info.key,
            **more,
        )
    )
    if dense:
        figure.add_trace(
            go.Scatter(
                x=curve.course_steps, y=curve.course_values, name=name, mode="lines", connectgaps=False,
                line={"color": colour, "dash": dash, "width": width}, hoverinfo="skip", legendgroup=name, meta=COURSE, **more,
            )
        )  # fmt: skip
    alone = [(steps[0], values[0]) for steps, values in curve.pieces() if len(steps) == 1]
    if alone and not few:
        figure.add_trace(
            go.Scatter(
                x=np.array([step for step, _ in alone], np.int64), y=np.array([value for _, value in alone]), name=name,
                mode="markers", marker={"size": 4, "color": colour}, hoverinfo="skip", legendgroup=name, showlegend=False, **more,
            )
        )  # fmt: skip


def lines(figure: go.Figure, scene: Scene, curves: Sequence[Curve]) -> None:
    """The curves told apart by colour and dash, named by what differs between them."""
    palette = colours(scene.theme).series
    for number, (curve, name) in enumerate(zip(curves, names([curve.info for curve in curves]), strict=True)):
        line(figure, curve, name, colour=palette[number % len(palette)], dash=DASHES[number % len(DASHES)])


def band(figure: go.Figure, low: Curve, high: Curve, name: str, *, colour: str, alpha: float) -> None:
    """The area between two curves; where either is broken, so is the band."""
    xs: list[NDArray[Any]] = []
    ys: list[NDArray[Any]] = []
    for (low_steps, low_values), (high_steps, high_values) in _together(low, high):
        if xs:
            xs.append(np.array([np.nan]))
            ys.append(np.array([np.nan]))
        xs += [high_steps, low_steps[::-1]]
        ys += [high_values, low_values[::-1]]
    if not xs:
        return
    figure.add_trace(
        go.Scatter(
            x=np.concatenate(xs),
            y=np.concatenate(ys),
            name=name,
            mode="lines",
            line={"width": 0},
            fill="toself",
            fillcolor=clear(colour, alpha),
            hoverinfo="skip",
        )
    )


def _together(
    low: Curve, high: Curve
) -> list[tuple[tuple[NDArray[Any], NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]]:
    """Chunks of two curves that cover the same steps; a piece without a partner is left out."""
    pairs = []
    uppers = list(high.pieces())
    for lower in low.pieces():
        for upper in uppers:
            start, end = max(lower[0][0], upper[0][0]), min(lower[0][-1], upper[0][-1])
            borders = [start, *(step for step in lower[0][CHUNK::CHUNK] if start < step < end), end]
            if end > start:
                pairs += [
                    (_within(lower, *ends), _within(upper, *ends)) for ends in itertools.pairwise(borders)
                ]
    return pairs


def _within(
    piece: tuple[NDArray[Any], NDArray[Any]], start: int, end: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What lies between two steps, with both ends, where the line is at them."""
    inner = (piece[0] > start) & (piece[0] < end)
    steps = np.concatenate([[start], piece[0][inner], [end]]).astype(float)
    values = np.interp([start, end], piece[0], piece[1])
    return steps, np.concatenate([values[:1], piece[1][inner], values[1:]])


def odd(figure: go.Figure, scene: Scene, curves: Sequence[Curve] | None = None, *, row: int = 1) -> None:
    """A mark for every NaN and infinity, at the edge of the plot: NaN is news and must be seen at any zoom."""
    critical = colours(scene.theme).critical
    of_row = "" if row == 1 else str(row)
    drawn = False
    for word, symbol, height in _ODD:
        steps: list[int] = []
        names: list[str] = []
        for curve in scene.curves if curves is None else curves:
            chosen = curve.odd_steps[_is(word, curve.odd_values)]
            steps += chosen.tolist()
            names += [curve.info.key] * len(chosen)
        if not steps:
            continue
        drawn = True
        shown = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_MARKS)).astype(np.intp))
        figure.add_trace(
            go.Scatter(
                x=np.array(steps, np.int64)[shown],
                y=np.full(len(shown), height),
                xaxis=f"x{of_row}",
                yaxis=f"y{100 + row}",  # an axis of its own, so that the data's scale can move beneath the marks
                name=f"{word} ×{len(steps):,}",
                mode="markers",
                marker={
                    "symbol": symbol,
                    "size": 8,
                    "color": critical,
                    "line": {"width": 1, "color": critical},
                },
                customdata=[names[i] for i in shown],
                hovertemplate="%{customdata}",
            )
        )
    if drawn:
        own = {
            "overlaying": f"y{of_row}",
            "anchor": f"x{of_row}",
            "range": [0, 1],
            "visible": False,
            "fixedrange": True,
        }
        figure.update_layout({f"yaxis{100 + row}": own})


def _is(word: str, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    if word == "NaN":
        return np.isnan(values)
    return np.asarray(values == (np.inf if word == "Infinity" else -np.inf))


def alerts(figure: go.Figure, scene: Scene, *, level_of: Curve | None = None) -> None:
    """Shaded intervals in which rules fired, and the baseline, thresholds and forecast of one curve as evaluated."""
    beside = -1.0
    for number, interval in enumerate(merged(scene.intervals)[-MOST_INTERVALS:]):
        close = interval.fired - beside < scene.last_step / 4
        _interval(figure, scene, interval, lower=13 * (number % 3) if close else 0)
        beside = interval.fired
    if level_of is not None:
        _levels(figure, scene, level_of)


def _interval(figure: go.Figure, scene: Scene, interval: Interval, *, lower: int) -> None:
    colour = colours(scene.theme).severity(interval.severity)
    end = max(scene.last_step, interval.fired) if interval.until is None else interval.until
    figure.add_shape(
        type="rect", x0=interval.since, x1=end, y0=0, y1=1, yref="paper", layer="below", line={"width": 0},
        fillcolor=clear(colour, 0.1), name=f"{interval.severity} interval {interval.rule}",
    )  # fmt: skip
    figure.add_shape(
        type="line", x0=interval.fired, x1=interval.fired, y0=0, y1=1, yref="paper", layer="below",
        line={"color": colour, "width": 1}, name=f"fired {interval.rule}",
    )  # fmt: skip
    word = "critical" if interval.severity == "critical" else "warning"
    many = f" ×{interval.places}" if interval.places > 1 else ""
    figure.add_annotation(
        x=interval.fired,
        y=1,
        yref="paper",
        yanchor="top",
        xanchor="left",
        yshift=-lower,
        showarrow=False,
        text=f"{word} {interval.fired:,}{many}",
        font={"size": 10, "color": colour},
        name=f"fired {interval.rule}",
        hovertext=f"{interval.title}: {word} since step {interval.since:,}, said at step {interval.fired:,}"
        + ("" if interval.until is None else f", over at step {interval.until:,}"),
    )


def _levels(figure: go.Figure, scene: Scene, curve: Curve) -> None:
    c = colours(scene.theme)
    key = curve.info.key
    others = len({one.info.place for one in scene.curves}) > 1
    seen: set[tuple[str, float]] = set()
    include: list[float] = []
    for limit in scene.limits:
        if limit.key != key or (limit.kind, limit.value) in seen:
            continue
        if limit.kind == "falling" and not limit.firing:
            continue  # below it nothing is wrong as long as nothing falls: a line there would cry wolf
        seen.add((limit.kind, limit.value))
        if limit.firing:  # the other rules' limits may be far away, and must not flatten the curve
            include.append(limit.value)
        word, side, dash = _LIMITS[limit.kind]
        colour = c.muted if limit.kind in ("baseline", "clear") else c.severity(limit.kind)
        whose = f"{curve.info.place} " if others and limit.kind == "baseline" else ""
        figure.add_shape(
            type="line",
            xref="paper",
            x0=0,
            x1=1,
            y0=limit.value,
            y1=limit.value,
            layer="above",
            name=f"{limit.kind} {limit.rule}",
            line={"color": colour, "width": 1.25, "dash": dash},
            label={
                "text": f"{whose}{word} {limit.value:.3g}",
                "padding": 2,
                "font": {"size": 10, "color": colour},
                "textposition": "middle" if limit.kind == "clear" else "end",
                "yanchor": side,
            },
        )
    for forecast in scene.forecasts:
        if forecast.key != key:
            continue
        include.append(forecast.level)
        figure.add_trace(
            go.Scatter(
                x=np.array([forecast.step, forecast.step + forecast.high, forecast.step + forecast.low, forecast.step]),
                y=np.array([forecast.value, forecast.level, forecast.level, forecast.value]),
                name="forecast", mode="lines", fill="toself", fillcolor=clear(c.critical, 0.18),
                line={"color": c.critical, "width": 1, "dash": "dot"},
                hovertemplate=f"{forecast.level:.3g} in {forecast.low:.0f} to {forecast.high:.0f} steps",
            )
        )  # fmt: skip
    if include:
        figure.update_layout(yaxis={"autorangeoptions": {"include": include}})
