"""Routers, and the pathways of tokens."""

from __future__ import annotations

import torch
from tests.sdk.subjects.subject import Given, Readings, Subject, integers, mask, normal, row_of

from foreshock.measure.statistics import experts, pathways

EXPERTS = 6


def _logits(rows: int, g: torch.Generator) -> Given:
    return {"logits": 2 * normal(rows, EXPERTS, generator=g), "valid": mask(rows, generator=g)}


def _everything(rows: int, g: torch.Generator) -> Given:
    logits = 2 * normal(rows, EXPERTS, generator=g)
    return {
        "logits": logits,
        "valid": mask(rows, generator=g),
        "chosen": logits.topk(2).indices,
        "tasks": integers(3, rows, generator=g) - 1,
        "dropped": torch.rand(rows, 2, generator=g) > 0.9,
    }


def _read(given: Given) -> Readings:
    limits = torch.tensor(experts.limits(EXPERTS))
    row, _ = experts.measure({**given, "limits": limits}, torch.zeros(EXPERTS), 2)
    return row_of(experts.series("moe", EXPERTS, given), row)


def _ways(rows: int, g: torch.Generator) -> Given:
    return {
        "chosen": torch.rand(3, rows, EXPERTS, generator=g).topk(2, 2).indices,
        "valid": mask(rows, generator=g),
        "embeddings": normal(3, EXPERTS, 5, generator=g),
        "weights": torch.rand(3, rows, 2, generator=g) + 0.1,
    }


def _pathways(given: Given) -> Readings:
    return row_of(pathways.series("moe", given), pathways.measure(given))


_ROWS = {"logits": 0, "valid": 0, "chosen": 0, "tasks": 0, "dropped": 0}

SUBJECTS = [
    Subject(
        "router",
        _logits,
        _read,
        _ROWS,
        spoiled=("logits",),
        halved=("logits",),
        shifted=("logits",),
        unshifted=("router_z",),
    ),
    Subject(
        "router, all that is known",
        _everything,
        _read,
        _ROWS,
        spoiled=("logits",),
        shifted=("logits",),
        unshifted=("router_z",),
        halved=("logits",),
        bounded=("expert_task_max_share",),
    ),
    Subject(
        "pathways",
        _ways,
        _pathways,
        {"chosen": 1, "valid": 0, "weights": 1},
        scaled=("embeddings",),
        halved=("embeddings",),
    ),
]
