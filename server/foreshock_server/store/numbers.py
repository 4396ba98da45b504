"""What people and programs say -> how JSON says it: what is not finite is written "NaN", "Infinity", "-Infinity", for both databases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foreshock_server.errors import Invalid

EXACT = 2**53  # up to here a float64 holds every integer

DEEPEST = 64  # levels of an object that somebody sends as configuration


def number_text(value: float) -> str:
    """How a number that is not finite is written everywhere."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def written(value: float) -> float | str:
    """The number, or its name when it is not finite."""
    return value if math.isfinite(value) else number_text(value)


def steps_text(steps: NDArray[np.int64]) -> list[int | str]:
    """The steps; those that a float64 may not hold as strings, so that every JSON reader keeps them."""
    listed: list[int | str] = steps.tolist()
    for i in np.flatnonzero((steps > EXACT) | (steps < -EXACT)).tolist():
        listed[i] = str(listed[i])
    return listed


def storable(value: Mapping[str, Any], field: str) -> dict[str, Any]:
    """The object as both databases and every browser can hold it: no bare NaN or infinity, no half of a surrogate pair.

    Invalid, naming the field, when it is nested deeper than anybody would write.
    """
    return _object(value, field, DEEPEST)


def _object(value: Mapping[str, Any], field: str, depth: int) -> dict[str, Any]:
    return {_text(key): _storable(one, field, depth - 1) for key, one in value.items()}


def _storable(value: Any, field: str, depth: int) -> Any:
    if depth < 0:
        raise Invalid(f"{field} is nested deeper than {DEEPEST} levels; flatten it.", field=field)
    if isinstance(value, dict):
        return _object(value, field, depth)
    if isinstance(value, list):
        return [_storable(one, field, depth - 1) for one in value]
    if isinstance(value, str):
        return _text(value)
    return written(value) if isinstance(value, float) else value


def _text(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
