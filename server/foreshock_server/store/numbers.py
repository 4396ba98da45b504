"""A number -> how JSON says it: what is not finite is written "NaN", "Infinity", "-Infinity", for people and for both databases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def number_text(value: float) -> str:
    """How a number that is not finite is written everywhere."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def written(value: float) -> float | str:
    """The number, or its name when it is not finite."""
    return value if math.isfinite(value) else number_text(value)


def storable(value: Mapping[str, Any]) -> dict[str, Any]:
    """The object without bare NaN or infinity at any depth: PostgreSQL refuses them, and browsers cannot read them."""
    return {key: _storable(one) for key, one in value.items()}


def _storable(value: Any) -> Any:
    if isinstance(value, dict):
        return storable(value)
    if isinstance(value, list):
        return [_storable(one) for one in value]
    return written(value) if isinstance(value, float) else value
