"""How far something has come that begins at one step and ends at another: from 0 to 1."""

from __future__ import annotations


def part(step: int, begin: float, end: float) -> float:
    """0 before it begins, 1 after its end, in between in a straight line."""
    return min(max((step - begin) / (end - begin), 0.0), 1.0)
