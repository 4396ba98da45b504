"""Is a run's entropy held by something? From its configuration, and from its course. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TAKEN_BACK = 0.25  # share of the fall that has been undone: it rises again
STILL = 0.05  # share of the fall between two quarters of the run: it does not move
SPENT = 0.25  # of the first entropy; below it a standstill is the end of the fall
MOST_ENTRIES = 10_000  # of a configuration, looked at

_TERM = re.compile(
    r"(^|_)ent(ropy)?_.*(coef|coeff|bonus|weight|beta|cost|alpha|target|floor|min|reg|scale)|(target|min|adaptive)_entropy$"
)
_OFF = {"", "0", "0.0", "none", "null", "no", "off", "false"}
_PAIRS = (
    ("clip_ratio_high", "clip_ratio_low"),
    ("clip_ratio_high", "clip_ratio"),
    ("epsilon_high", "epsilon"),
)
_LOSSES = {"clip_cov", "kl_cov"}


def in_config(config: Mapping[str, Any]) -> str | None:
    """The entry that controls entropy, as `name=value`: an entropy term, a clip bound that is higher above, Clip-Cov or KL-Cov."""
    for number, (path, group, name, value) in enumerate(_entries(config, "")):
        if number >= MOST_ENTRIES:
            break
        if _on(name, value, group):
            return f"{path}={value}"[:200]
    return None


def _on(name: str, value: Any, group: Mapping[str, Any]) -> bool:
    if _TERM.search(name):
        return str(value).lower() not in _OFF if isinstance(value, str) else bool(value)
    if name == "loss_mode":
        return str(value).replace("-", "_") in _LOSSES
    return any(name == high and _above(value, group.get(low)) for high, low in _PAIRS)


def _above(high: Any, low: Any) -> bool:
    return isinstance(high, (int, float)) and isinstance(low, (int, float)) and high > low * (1 + 1e-9)


def _entries(group: Mapping[str, Any], before: str) -> Iterator[tuple[str, Mapping[str, Any], str, Any]]:
    """(path, the mapping it stands in, last name in small letters, value) of everything that is no mapping."""
    waiting = [(group, before)]
    while waiting:
        here, path = waiting.pop()
        for key, value in here.items():
            if isinstance(value, Mapping):
                waiting.append((value, f"{path}{key}."))
            else:
                yield f"{path}{key}", here, str(key).rsplit(".", 1)[-1].rsplit("/", 1)[-1].lower(), value


def in_course(steps: NDArray[np.int64], entropy: Floats) -> str | None:
    """A sentence when the entropy rises again or stands still far from spent; from means [B] in nat and their first steps."""
    n = len(entropy)
    if n < 12:
        return None
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(entropy, 3), axis=1)
    start, now, lowest = float(smooth[0]), float(smooth[-1]), int(smooth.argmin())
    fallen = start - float(smooth[lowest])
    noise = float(np.sqrt(np.mean(np.diff(entropy, 2) ** 2) / 6))
    if now - float(smooth[lowest]) > max(TAKEN_BACK * fallen, 4 * noise) and fallen > 0:
        return (
            f"The entropy rises again, from {smooth[lowest]:.3g} nat at step {steps[lowest + 1]:,} to {now:.3g} nat:"
            " something holds it up, or it explodes; the law is for runs that spend it."
        )
    third, last = entropy[n // 2 : 3 * n // 4], entropy[3 * n // 4 :]
    still = abs(float(np.median(third)) - float(np.median(last))) < STILL * fallen
    if still and now > SPENT * start:
        return (
            f"The entropy has stayed at about {now:.3g} nat since step {steps[n // 2]:,}: something holds it;"
            " the law is for runs that spend it."
        )
    return None
