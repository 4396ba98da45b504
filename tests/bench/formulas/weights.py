"""Weight matrices."""

from __future__ import annotations

import logging
import math

import torch
from tests.bench.formulas.comparison import Comparison, drawn
from tests.bench.formulas.packages import module
from torch import Tensor

from foreshock.measure.problems.weights import READINGS, Weights
from foreshock.measure.statistics import (
    power,
    product,
)


def comparisons() -> list[Comparison]:
    def heavy(draw: int) -> Tensor:
        """A weight whose eigenvalues have a heavy tail, as trained ones do."""
        rows = torch.distributions.StudentT(3.0)
        torch.manual_seed(draw)
        return 0.05 * rows.sample((300, 200))

    def spectrum(draw: int, statistic: str) -> float:
        found = Weights(300, 200).solve(product.gram(heavy(draw)).numpy())
        return dict(zip((name for name, _ in READINGS), found, strict=True))[statistic]

    def norms(draw: int, statistic: str) -> float:
        weight = heavy(draw)
        start = torch.nn.functional.normalize(drawn(draw, 200), dim=0)
        direction = power.first(weight, start)
        for _ in range(20):  # as many records
            value, direction = power.improve(weight, direction)
        return dict(zip(power.YIELDS, power.readings(weight, value).tolist(), strict=True))[statistic]

    def watched(draw: int, name: str) -> float:
        watcher = module("weightwatcher")
        logging.getLogger("weightwatcher").setLevel(logging.ERROR)
        layer = torch.nn.Linear(200, 300, bias=False)
        layer.weight.data = heavy(draw)
        told = watcher.WeightWatcher(model=torch.nn.Sequential(layer)).analyze(min_evals=50)
        return float(told[name].iloc[0])

    return [
        Comparison(
            "weight_tail_exponent",
            "weightwatcher",
            "`alpha`; 300 × 200, entries of Student's t with 3 degrees",
            lambda draw: spectrum(draw, "weight_tail_exponent"),
            lambda draw: watched(draw, "alpha"),
        ),
        Comparison(
            "weight_tail_fit",
            "weightwatcher",
            "`D`; the same",
            lambda draw: spectrum(draw, "weight_tail_fit"),
            lambda draw: watched(draw, "D"),
        ),
        Comparison(
            "weight_stable_rank",
            "weightwatcher",
            "`stable_rank`; the same, after 20 records",
            lambda draw: norms(draw, "weight_stable_rank"),
            lambda draw: watched(draw, "stable_rank"),
        ),
        Comparison(
            "weight_spectral_norm",
            "weightwatcher",
            "root of `spectral_norm`, which is the largest eigenvalue; the same: ours comes from below",
            lambda draw: norms(draw, "weight_spectral_norm"),
            lambda draw: math.sqrt(watched(draw, "spectral_norm")),
        ),
    ]
