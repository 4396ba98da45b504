"""Codebooks."""

from __future__ import annotations

import torch
from tests.sdk.subjects.subject import Given, Readings, Subject, integers, mask, normal, row_of

from foreshock.measure.statistics import codebook

SIZE = 5


def _draw(rows: int, g: torch.Generator) -> Given:
    return {
        "index": integers(SIZE, rows, generator=g),
        "valid": mask(rows, generator=g),
        "gradient": normal(SIZE, 3, generator=g) * (torch.rand(SIZE, 1, generator=g) > 0.3),
    }


def _read(given: Given) -> Readings:
    """After a first batch that only some of the codes were in."""
    memory = codebook.fresh(SIZE, torch.device("cpu"))
    _, memory = codebook.measure({"index": torch.arange(25) % 3}, memory)
    row, _ = codebook.measure(given, memory)
    return row_of(codebook.series("vq", given), row)


SUBJECTS = [
    Subject(
        "codebook",
        _draw,
        _read,
        {"index": 0, "valid": 0},
        scaled=("gradient",),
        halved=("gradient",),
        bounded=("codebook_age_max",),
    )
]
