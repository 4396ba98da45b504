"""The scene of one alert -> a PNG for a message: its series around the alarm, and the lines that the rule compared it with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foreshock_server.figures.canvas import Canvas, Point, fitted, width_of
from foreshock_server.figures.marks import FEW
from foreshock_server.figures.scene import Curve, Limit, Scene
from foreshock_server.figures.style import colours

WIDTH, HEIGHT = 480, 288  # units; a telephone shows it at two thirds of that and more
TITLE, LABEL, TICK = 17, 12.5, 12  # sizes of words
LEAST_GUTTER, MOST_GUTTER = 40, 150  # right of the plot, where the lines are named
NEAR = 3.0  # a line so many times as far away as the curve is high would flatten it, and is left out
MOST_MARKS = 150  # of what is not finite
RESOLVED = "#1a7f37"

_C = colours("light")
_LIMITS = {"baseline": "baseline", "warning": "warning", "falling": "warning", "critical": "critical", "clear": "resolves"}  # fmt: skip


@dataclass(frozen=True)
class Caption:
    """The words above the plot."""

    title: str
    about: str
    severity: str
    fired: int
    resolved: int | None = None


def draw(scene: Scene, caption: Caption, others: Sequence[Curve] = ()) -> bytes:
    """`scene` has one curve; `others`, the further entries of a vector, stay in the background."""
    [curve] = scene.curves
    canvas = Canvas(WIDTH, HEIGHT)
    limits, low, high = _range(scene, curve, others)
    names = _named(limits, curve)
    gutter = max((width_of(words, LABEL) for _, words, _ in names), default=0.0) + 12
    ticks = _ticks(low, high, 4)
    wide = max(width_of(_number(tick), TICK) for tick in ticks)
    plot = _Plot(
        left=wide + 16,
        right=WIDTH - min(MOST_GUTTER, max(LEAST_GUTTER, gutter)),
        top=68.0,
        bottom=HEIGHT - 30.0,
        first=float(min([*curve.steps[:1], *curve.odd_steps[:1], caption.fired])),
        last=float(_last_step(scene, curve, caption)),
        low=low,
        high=high,
    )
    _head(canvas, caption)
    _shades(canvas, plot, scene)
    if np.isfinite(curve.values).any() or limits:
        _grid(canvas, plot, ticks)
    _steps(canvas, plot)
    for other in others:
        _curve(canvas, plot, other, _mix(_C.muted, 0.35), 0.8)
    _forecasts(canvas, plot, scene)
    for limit in limits:
        height = plot.y(limit.value)
        on, off = {"baseline": (1e9, 0.0), "clear": (1.5, 3.0)}.get(limit.kind, (6.0, 4.0))
        canvas.dashes((plot.left, height), (plot.right, height), _colour(limit), 1.25, on, off)
    _curve(canvas, plot, curve, _C.accent, 2.0)
    _odd(canvas, plot, curve)
    _moments(canvas, plot, curve, caption)
    _names(canvas, plot, names)
    return canvas.png()


@dataclass(frozen=True)
class _Plot:
    """Where steps and values lie on the canvas."""

    left: float
    right: float
    top: float
    bottom: float
    first: float
    last: float
    low: float
    high: float

    def x(self, step: float) -> float:
        share = (step - self.first) / (self.last - self.first) if self.last > self.first else 0.5
        return self.left + min(1.0, max(0.0, share)) * (self.right - self.left)

    def y(self, value: float) -> float:
        share = (value / 2 - self.low / 2) / (
            self.high / 2 - self.low / 2
        )  # halves: the difference may overflow
        return self.bottom - min(1.0, max(0.0, share)) * (self.bottom - self.top)


def _head(canvas: Canvas, caption: Caption) -> None:
    colour = _C.severity(caption.severity) if caption.resolved is None else RESOLVED
    canvas.dot((16, 18), colour, 5)
    canvas.words((28, 24), fitted(caption.title, TITLE, WIDTH - 40), _C.ink, TITLE)
    canvas.words((28, 43), fitted(caption.about, LABEL, WIDTH - 40), _C.muted, LABEL)


def _shades(canvas: Canvas, plot: _Plot, scene: Scene) -> None:
    for interval in scene.intervals:
        until = scene.last_step if interval.until is None else interval.until
        left, right = plot.x(interval.since), plot.x(until)
        corners = [(left, plot.top), (right, plot.top), (right, plot.bottom), (left, plot.bottom)]
        canvas.area(corners, _mix(_C.severity(interval.severity), 0.1))


def _grid(canvas: Canvas, plot: _Plot, ticks: Sequence[float]) -> None:
    for tick in ticks:
        height = plot.y(tick)
        canvas.line([(plot.left, height), (plot.right, height)], _C.grid, 0.75)
        canvas.words((plot.left - 6, height), _number(tick), _C.muted, TICK, "rm")


def _steps(canvas: Canvas, plot: _Plot) -> None:
    canvas.line([(plot.left, plot.bottom), (plot.right, plot.bottom)], _C.muted, 0.75)
    for place, step in enumerate(_whole(_ticks(plot.first, plot.last, 4))):
        if plot.first <= step <= plot.last:
            at = plot.x(step)
            canvas.line([(at, plot.bottom), (at, plot.bottom + 3)], _C.muted, 0.75)
            words = f"step {step:,}" if place == 0 else f"{step:,}"
            half = width_of(words, TICK) / 2
            at = min(max(at, half + 2), WIDTH - half - 2)
            canvas.words((at, plot.bottom + 18), words, _C.muted, TICK, "ms")


def _forecasts(canvas: Canvas, plot: _Plot, scene: Scene) -> None:
    for one in scene.forecasts:
        begin = (plot.x(one.step), plot.y(one.value))
        level = plot.y(one.level)
        soon, late = plot.x(one.step + one.low), plot.x(one.step + one.high)
        canvas.area([begin, (late, level), (soon, level)], _mix(_C.critical, 0.25))
        canvas.line([(soon, level), begin, (late, level)], _C.critical, 0.75)


def _curve(canvas: Canvas, plot: _Plot, curve: Curve, colour: str, width: float) -> None:
    """A dense one is faint under the line of its medians, as on the page."""
    dense = len(curve.course_values) > 0
    for steps, values in curve.pieces():
        points = _points(plot, steps, values)
        canvas.line(points, _mix(colour, 0.3) if dense else colour, 0.75 if dense else width)
        if width > 1 and (len(points) == 1 or len(curve.values) <= FEW):
            for point in points:
                canvas.dot(point, colour, 2.5)
    borders = np.flatnonzero(~np.isfinite(curve.course_values))
    for part in np.split(np.arange(len(curve.course_values)), borders):
        part = part[np.isfinite(curve.course_values[part])]
        canvas.line(_points(plot, curve.course_steps[part], curve.course_values[part]), colour, width)


def _odd(canvas: Canvas, plot: _Plot, curve: Curve) -> None:
    """What is not finite, at the edge: NaN is news and must be seen."""
    told = []
    for word, found, height in (
        ("NaN", np.isnan(curve.odd_values), plot.bottom - 7),
        ("Infinity", curve.odd_values == np.inf, plot.top + 7),
        ("-Infinity", curve.odd_values == -np.inf, plot.bottom - 7),
    ):
        steps = curve.odd_steps[found]
        if not len(steps):
            continue
        told.append(f"{word} x{len(steps):,}")
        shown = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_MARKS)).astype(np.intp))
        for at in sorted({round(plot.x(step)) for step in steps[shown].tolist()}):
            canvas.cross((at, height), _C.critical, 3.5)
    if told:
        canvas.words((plot.left + 6, plot.bottom - 16), "   ".join(told), _C.critical, LABEL)
    elif not np.isfinite(curve.values).any():
        middle = (plot.left + plot.right) / 2, (plot.top + plot.bottom) / 2
        canvas.words(middle, "no reading", _C.muted, LABEL, "mm")


def _moments(canvas: Canvas, plot: _Plot, curve: Curve, caption: Caption) -> None:
    """Where it fired, and where it was over."""
    steps, values = curve.finite
    course = curve.course_values[np.isfinite(curve.course_values)]
    if len(course):
        steps, values = curve.course_steps[np.isfinite(curve.course_values)], course
    told = [("fired", caption.fired, _C.severity(caption.severity))]
    if caption.resolved is not None:
        told.append(("resolved", caption.resolved, RESOLVED))
    taken = -math.inf
    for word, step, colour in told:
        at = plot.x(step)
        canvas.line([(at, plot.top), (at, plot.bottom)], colour, 1.5)
        near = np.flatnonzero(steps <= step)
        if len(near):
            canvas.dot((at, plot.y(float(values[near[-1]]))), colour, 4)
        words = f"{word} {step:,}"
        half = width_of(words, LABEL) / 2
        middle = max(min(max(at, plot.left + half), WIDTH - half - 4), taken + half)
        canvas.words((middle, plot.top - 6), words, colour, LABEL, "ms")
        taken = middle + half + 8


def _named(limits: Iterable[Limit], curve: Curve) -> list[tuple[float, str, str]]:
    """Value, words and colour of what is named right of the plot: the lines, and the last reading."""
    named = [(one.value, f"{_LIMITS[one.kind]} {_number(one.value)}", _colour(one)) for one in limits]
    _, values = curve.finite
    if len(values):
        named.append((float(values[-1]), f"now {_number(float(values[-1]))}", _C.accent))
    return named


def _names(canvas: Canvas, plot: _Plot, names: Iterable[tuple[float, str, str]]) -> None:
    """Beside what they name, moved apart where they would cover each other."""
    placed = sorted((plot.y(value), words, colour) for value, words, colour in names)
    heights: list[float] = []
    for height, _, _ in placed:
        heights.append(max(height, heights[-1] + LABEL + 2 if heights else plot.top))
    for place in reversed(range(len(heights))):
        below = heights[place + 1] - LABEL - 2 if place + 1 < len(heights) else plot.bottom
        heights[place] = min(heights[place], below)
    for height, (_, words, colour) in zip(heights, placed, strict=True):
        room = WIDTH - plot.right - 8
        canvas.words((plot.right + 6, height), fitted(words, LABEL, room), colour, LABEL, "lm")


def _range(scene: Scene, curve: Curve, others: Sequence[Curve]) -> tuple[list[Limit], float, float]:
    """The limits that are drawn, and the lowest and highest value of the plot: the curve's, theirs and the forecast's."""
    found = np.concatenate([one.values for one in (curve, *others)])
    found = found[np.isfinite(found)]
    values = [float(found.min()), float(found.max())] if len(found) else []
    values += [one.level for one in scene.forecasts]
    limits: list[Limit] = []
    for limit in scene.limits:
        if any(one.kind == limit.kind for one in limits):
            continue
        if values:
            reach = NEAR * max(max(values) / 2 - min(values) / 2, abs(max(values)) / 4, abs(min(values)) / 4)
            if not min(values) - reach <= limit.value <= max(values) + reach:
                continue
        limits.append(limit)
    values += [limit.value for limit in limits]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low == high:
        room = abs(low) / 10 or 1.0
        return limits, low - room, high + room
    room = (high / 2 - low / 2) / 8
    bottom = 0.0 if 0 <= low < high / 2 else low - room
    return limits, bottom, high + room


def _last_step(scene: Scene, curve: Curve, caption: Caption) -> int:
    """As far as there is something to draw; a forecast that leads far away is cut."""
    steps = [int(step) for step in (*curve.steps[-1:], *curve.odd_steps[-1:])]
    last = max([*steps, caption.fired, caption.resolved or caption.fired])
    first = min([*map(int, curve.steps[:1]), *map(int, curve.odd_steps[:1]), caption.fired])
    far = max((one.step + math.ceil(one.high) for one in scene.forecasts), default=last)
    return max(last, min(far, last + max(20, (last - first) * 2 // 3)))


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between two others."""
    rough = high / about - low / about
    if not math.isfinite(rough) or rough <= 0:
        return [low]
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(size * scale for size in (1, 2, 2.5, 5, 10) if size * scale >= rough * 0.99)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)] or [low]


def _whole(ticks: Iterable[float]) -> list[int]:
    return sorted({round(tick) for tick in ticks})


def _points(plot: _Plot, steps: NDArray[np.int64], values: NDArray[np.float64]) -> list[Point]:
    return [
        (plot.x(step), plot.y(value)) for step, value in zip(steps.tolist(), values.tolist(), strict=True)
    ]


def _colour(limit: Limit) -> str:
    return _C.muted if limit.kind in ("baseline", "clear") else _C.severity(limit.kind)


def _number(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 100_000 else f"{value:.3g}"


def _mix(colour: str, share: float) -> str:
    """The colour, so much of it, on white."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (part - 255) * share):02x}" for part in parts)
