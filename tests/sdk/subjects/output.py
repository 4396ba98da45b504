"""Classifiers' logits, in training and where a model adapts itself to its test data."""

from __future__ import annotations

import torch
from tests.sdk.subjects.subject import Given, Readings, Subject, integers, mask, normal, row_of

from foreshock.measure.statistics import adaptation, output

CLASSES = 5


def _draw(rows: int, g: torch.Generator) -> Given:
    return {
        "logits": 3 * normal(rows, CLASSES, generator=g),
        "valid": mask(rows, generator=g),
        "targets": integers(CLASSES, rows, generator=g),
    }


def _read(given: Given) -> Readings:
    return row_of(output.series(given, "head"), output.measure(given, 1 << 20))


def _adapted(rows: int, g: torch.Generator) -> Given:
    return {"logits": 3 * normal(rows, CLASSES, generator=g), "valid": mask(rows, generator=g)}


def _read_adapted(given: Given) -> Readings:
    memory = torch.zeros(adaptation.ROWS, CLASSES)
    adaptation.measure({"logits": torch.eye(CLASSES)[:3], "valid": torch.ones(3)}, memory, 8)
    return row_of(adaptation.series("head"), adaptation.measure(given, memory, 1 << 20))


SUBJECTS = [
    Subject(
        "classifier",
        _draw,
        _read,
        {"logits": 0, "valid": 0, "targets": 0},
        spoiled=("logits",),
        shifted=("logits",),
        unshifted=("output_lse", "output_z_loss", "output_logit_mean", "output_logit_max"),
        halved=("logits",),
        rounded=("absorbed_share", "softmax_collapse_share", "zero_loss_share"),
    ),
    Subject(
        "adaptation",
        _adapted,
        _read_adapted,
        {"logits": 0, "valid": 0},
        spoiled=("logits",),
        shifted=("logits",),
        halved=("logits",),
    ),
]
