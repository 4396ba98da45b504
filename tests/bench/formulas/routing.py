"""Experts."""

from __future__ import annotations

import math

import numpy as np
import torch
from tests.bench.formulas.comparison import Comparison, drawn
from tests.bench.formulas.packages import module
from torch import Tensor

from foreshock.measure.statistics import (
    experts,
)


def comparisons() -> list[Comparison]:
    def shown(draw: int) -> dict[str, Tensor]:
        tasks = torch.randint(0, 4, (3000,), generator=torch.Generator().manual_seed(draw))
        logits = drawn(draw, 3000, 8) + 1.5 * drawn(draw + 9, 4, 8)[tasks]
        return {"logits": logits, "tasks": tasks, "limits": torch.tensor(experts.limits(8))}

    def ours(draw: int, statistic: str) -> float:
        row, _ = experts.measure(shown(draw), torch.zeros(8), 1)
        specs = experts.series("moe", 8, shown(draw))
        return next(v for s, v in zip(specs, row.tolist(), strict=True) if s.statistic == statistic)

    def information(draw: int) -> float:
        given = shown(draw)
        tasks, chosen = given["tasks"].numpy(), given["logits"].argmax(1).numpy()
        metrics = module("sklearn.metrics")
        entropies = [float(module("scipy.stats").entropy(np.bincount(x))) for x in (tasks, chosen)]
        cells = len(set(zip(tasks.tolist(), chosen.tolist(), strict=True)))
        bias = (cells - len(set(tasks)) - len(set(chosen)) + 1) / (2 * len(tasks))
        return float((metrics.mutual_info_score(tasks, chosen) - bias) / min(entropies))

    return [
        Comparison(
            "expert_task_information",
            "scikit-learn",
            "`mutual_info_score` less Miller & Madow's bias, over the smaller entropy; 3000 tokens, 8 experts, 4 tasks",
            lambda draw: ours(draw, "expert_task_information"),
            information,
        ),
        Comparison(
            "expert_load_entropy",
            "scipy",
            "`entropy` of the counts over ln E; the same",
            lambda draw: ours(draw, "expert_load_entropy"),
            lambda draw: float(
                module("scipy.stats").entropy(np.bincount(shown(draw)["logits"].argmax(1).numpy()))
                / math.log(8)
            ),
        ),
        Comparison(
            "router_z",
            "the formula of ST-MoE",
            "mean of logsumexp²; the same",
            lambda draw: ours(draw, "router_z"),
            lambda draw: float(shown(draw)["logits"].double().logsumexp(1).square().mean()),
        ),
    ]
