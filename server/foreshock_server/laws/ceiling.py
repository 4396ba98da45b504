"""Pairs (entropy, reward) of a run -> the ceiling law R = -a * exp(H) + b: where the reward ends when all entropy is spent. Pure.

The law is empirical and stated for policies whose entropy nobody holds (Cui et al. 2025, arXiv:2505.22617). Where the pairs
cannot carry it, nothing is told but the reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foreshock_server.laws import control
from foreshock_server.laws.departure import leaves
from foreshock_server.laws.line import Floats, Line, line, noise

LEVEL = 0.95  # of the interval
FEWEST = 16  # pairs
MOST_BLOCKS = 32  # the law is linear in exp(H), so means of consecutive pairs obey it too, with less noise
SPAN = 0.3  # nat; a shorter way says nothing about its end
LEAST_EXPLAINED = 0.5  # R squared of the means
LEAST_RELIABILITY = 0.7  # share of the variance of exp(H) that is not its noise
HIGHEST = 30.0  # nat; no softmax has more

Reason = Literal[
    "too few readings", "no entropy", "controlled", "small span", "poor fit", "no gain", "imprecise"
]


@dataclass(frozen=True)
class Path:
    """Means over consecutive pairs, in the order of steps."""

    steps: NDArray[np.int64]  # [B] of the first pair of each
    entropy: Floats  # [B] nat: ln of the mean of exp(H)
    reward: Floats  # [B]


@dataclass(frozen=True)
class Left:
    """The run has left the curve, and still lies beside it."""

    step: int  # since
    side: Literal["above", "below"]
    beside: float  # mean distance from then on, in the unit of the reward


@dataclass(frozen=True)
class Fit:
    """The law as far as the run has shown it; rewards in their own unit."""

    a: float
    b: float
    ceiling: float  # b - a: the reward at H = 0
    low: float  # the interval of the ceiling, at LEVEL
    high: float
    explained: float  # R squared of the means
    entropy_spent: float  # share of the first entropy, in nat, that is gone
    gain_spent: float  # share that has been paid of the reward that the law promises for all of it
    left: Left | None
    curve: Line  # of reward / scale against exp(H)
    scale: float

    def at(self, entropy: float) -> tuple[float, float, float]:
        """The reward on the curve at this entropy in nat, and its interval."""
        x = math.exp(entropy)
        low, high = self.curve.interval(x, LEVEL)
        return self.curve.at(x) * self.scale, low * self.scale, high * self.scale


@dataclass(frozen=True)
class Ceiling:
    """What the law says about a run: a fit, or the reason why there is none."""

    fit: Fit | None
    reason: Reason | None
    message: str
    pairs: int
    path: Path


def ceiling(
    steps: NDArray[np.int64], entropy: Floats, reward: Floats, config: Mapping[str, Any] | None = None
) -> Ceiling:
    """The law through pairs [n] in the order of steps, entropy in nat; pairs that are not finite are left out.

    `config` is the run's: it may name an entropy bonus or a clip bound that is higher above.
    """
    usable = np.isfinite(entropy) & np.isfinite(reward)
    steps, entropy, reward = steps[usable], entropy[usable], reward[usable]
    path = Path(steps[:0], entropy[:0], reward[:0])

    def withheld(reason: Reason, message: str) -> Ceiling:
        return Ceiling(None, reason, message, len(steps), path)

    if len(steps) < FEWEST:
        have = f"{len(steps)} steps with both entropy and reward"
        return withheld("too few readings", f"{have} are too few; the fit begins with {FEWEST}.")
    if float(entropy.min()) < -1e-3 or float(entropy.max()) > HIGHEST:
        return withheld(
            "no entropy", f"Readings outside 0 to {HIGHEST:g} nat are not the entropy of a softmax."
        )
    size = 2 ** math.ceil(math.log2(max(1.0, len(steps) / MOST_BLOCKS)))
    scale = float(np.abs(reward).max()) or 1.0  # squares of large rewards must not overflow
    x, y = np.exp(entropy), reward / scale
    means_x, means_y = _means(x, size), _means(y, size)
    path = Path(steps[: len(means_x) * size : size], np.log(means_x), means_y * scale)
    named = control.in_config(config or {})
    if named is not None:
        return withheld(
            "controlled", f"The entropy is controlled ({named}); the law is for runs that spend it."
        )
    held = control.in_course(path.steps, path.entropy)
    if held is not None:
        return withheld("controlled", held)
    span = float(path.entropy.max() - path.entropy.min())
    if span < SPAN:
        return withheld(
            "small span", f"The entropy has moved by {span:.2f} nat; the end shows from {SPAN:g} nat on."
        )
    of_x, of_xy = (part / size for part in noise(x, y))
    leaving = leaves(means_x, means_y, of_x, of_xy, math.exp(SPAN))
    curve = leaving.before if leaving else line(means_x, means_y, of_x, of_xy)
    few = min(10, max(2, len(x) // 16))
    start, now = float(x[:few].mean()), float(x[-few:].mean())
    refused = _refused(curve, start)
    if curve is None or refused is not None:
        return withheld(*(refused or _NOISE))
    left = None
    if leaving is not None:
        side: Literal["above", "below"] = "above" if leaving.beside > 0 else "below"
        left = Left(int(path.steps[leaving.pair]), side, leaving.beside * scale)
    fit = _fit(curve, scale, start, now, left)
    return Ceiling(fit, None, _sentence(fit, float(y[-few:].mean()) * scale), len(steps), path)


_NOISE: tuple[Reason, str] = ("poor fit", "The entropy moves no further than its own noise.")


def _refused(curve: Line | None, start: float) -> tuple[Reason, str] | None:
    """Why this line is not told, if so; `start`: exp(H) at the beginning."""
    if curve is None or curve.reliability < LEAST_RELIABILITY:
        return _NOISE
    if curve.slope >= 0:
        return (
            "no gain",
            "The reward does not rise as the entropy falls: this run does not trade one for the other.",
        )
    if curve.explained < LEAST_EXPLAINED:
        explained = f"The law explains {curve.explained:.0%} of the reward's course"
        return "poor fit", f"{explained}; below {LEAST_EXPLAINED:.0%} it is withheld."
    low, high = curve.interval(1.0, LEVEL)
    gain = curve.at(1.0) - curve.at(start)
    if high - low > 2 * gain:
        return "imprecise", "The interval of the ceiling is wider than the whole gain; wait for more steps."
    return None


def _fit(curve: Line, scale: float, start: float, now: float, left: Left | None) -> Fit:
    low, high = curve.interval(1.0, LEVEL)
    return Fit(
        a=-curve.slope * scale,
        b=curve.intercept * scale,
        ceiling=curve.at(1.0) * scale,
        low=low * scale,
        high=high * scale,
        explained=curve.explained,
        entropy_spent=1 - math.log(now) / math.log(start),
        gain_spent=(start - now) / (start - 1),
        left=left,
        curve=curve,
        scale=scale,
    )


def _sentence(fit: Fit, now: float) -> str:
    said = (
        f"Ceiling of reward at this pace: {fit.low:.3g} to {fit.high:.3g} (now {now:.3g});"
        f" {fit.entropy_spent:.0%} of the entropy is spent, {fit.gain_spent:.0%} of the gain is paid."
    )
    if fit.left is None:
        return said
    beside = f"{abs(fit.left.beside):.3g} {fit.left.side} it"
    return f"The run has left the curve at step {fit.left.step:,} and lies {beside}. Before: {said[0].lower()}{said[1:]}"


def _means(values: Floats, size: int) -> Floats:
    """Of every `size` consecutive values; what is left over at the end waits."""
    whole = len(values) // size * size
    return np.asarray(values[:whole].reshape(-1, size).mean(axis=1))
