"""Gaussian posteriors."""

from __future__ import annotations

import torch
from tests.sdk.subjects.subject import Given, Readings, Subject, mask, normal, row_of

from foreshock.measure.statistics import latents

WIDTH = 4


def _draw(rows: int, g: torch.Generator) -> Given:
    return {
        "mean": normal(rows, WIDTH, generator=g) * torch.tensor([2.0, 1.0, 0.3, 0.01]),
        "log_variance": normal(rows, WIDTH, generator=g) - 1,
        "valid": mask(rows, generator=g),
        "noise": normal(rows, WIDTH, generator=g),
    }


def _read(given: Given) -> Readings:
    return row_of(latents.series("z"), latents.measure(given))


SUBJECTS = [
    Subject(
        "latents",
        _draw,
        _read,
        {"mean": 0, "log_variance": 0, "valid": 0, "noise": 0},
        spoiled=("mean", "log_variance"),
        shared=("noise",),
        halved=("mean", "log_variance"),
    )
]
