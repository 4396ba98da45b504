"""Where pairs in the order of time leave the line that the earlier ones drew. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from foreshock_server.laws.line import Floats, Line, line, student

FEWEST = 8  # pairs that draw a line
WINDOW = 3  # consecutive pairs that must lie beside it, and the last ones too
SURE = 0.9995  # of one look; a run is looked at some twenty times
MATTERS = 0.15  # of the way that the line went in y: a smaller distance is noise of the law, not its end


@dataclass(frozen=True)
class Leaving:
    """From `pair` on the pairs lie `beside` the line of those before, in mean; above it when positive."""

    pair: int
    beside: float
    before: Line


def leaves(x: Floats, y: Floats, noise_x: float, noise_xy: float, enough: float) -> Leaving | None:
    """The first place from which pairs [n] lie beside the line, and still do; None when they keep to it.

    `enough`: the ratio of the largest to the smallest x that a line needs before anything is held against it.
    """
    for pair in range(FEWEST, len(x) - WINDOW + 1):
        past = x[:pair]
        if past.max() < enough * past.min():
            continue
        before = line(past, y[:pair], noise_x, noise_xy)
        if before is None:
            continue
        begins = _beside(before, x[pair : pair + WINDOW], y[pair : pair + WINDOW])
        if begins == 0.0 or begins * _beside(before, x[-WINDOW:], y[-WINDOW:]) <= 0.0:
            continue
        distances = np.abs(
            y[pair : pair + WINDOW] - (before.intercept + before.slope * x[pair : pair + WINDOW])
        )
        pair += int(
            np.argmax(distances > distances.max() / 3)
        )  # what still kept to the line is no part of it
        way = abs(before.slope) * float(past.max() - past.min())
        beside = float(np.mean(y[pair:] - (before.intercept + before.slope * x[pair:])))
        if abs(beside) > MATTERS * way and beside * begins > 0:
            return Leaving(pair, beside, before)
    return None


def _beside(before: Line, x: Floats, y: Floats) -> float:
    """The mean distance of these pairs from the line; 0 when it may be chance, or they lie on both sides."""
    each = y - (before.intercept + before.slope * x)
    if not (np.all(each > 0) or np.all(each < 0)):
        return 0.0
    wider = (1 + before.alike) / (1 - before.alike)
    own = before.residual**2 * wider / len(x)
    error = math.sqrt(own + before.error(float(x.mean())) ** 2)
    mean = float(each.mean())
    return mean if abs(mean) > student(SURE, before.freedom) * error else 0.0
