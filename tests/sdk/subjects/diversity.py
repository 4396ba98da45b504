"""Generated samples."""

from __future__ import annotations

import torch
from tests.sdk.subjects.subject import Given, Readings, Subject, normal, row_of

from foreshock.measure.statistics import diversity

WIDTH = 4


def _draw(rows: int, g: torch.Generator) -> Given:
    return {"x": normal(rows, WIDTH, generator=g) + 0.5}


def _beside_a_reference(rows: int, g: torch.Generator) -> Given:
    return {**_draw(rows, g), "reference": normal(rows, WIDTH, generator=g)}


def _read(given: Given) -> Readings:
    return row_of(diversity.series("g", given), diversity.measure(given))


_AVERAGED = ("sample_distance", "sample_std")

SUBJECTS = [
    Subject(
        "samples",
        _draw,
        _read,
        {"x": 0},
        spoiled=("x",),
        scaled=("x",),
        degrees={"sample_std": 1},
        halved=("x",),
        averaged=_AVERAGED,
    ),
    Subject(
        "samples beside a reference",
        _beside_a_reference,
        _read,
        {"x": 0, "reference": 0},
        scaled=("x", "reference"),
        degrees={"sample_std": 1},
        halved=("x", "reference"),
        averaged=_AVERAGED,
    ),
]
