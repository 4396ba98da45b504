"""Of two views of the same things."""

from __future__ import annotations

import torch
from tests.bench.formulas.comparison import Comparison, drawn, reading
from tests.bench.formulas.packages import source
from tests.bench.formulas.spectra import measured
from torch import Tensor

from foreshock.measure.statistics import (
    views,
)


def comparisons() -> list[Comparison]:
    def both(draw: int) -> tuple[Tensor, Tensor]:
        a = drawn(draw, 256, 32)
        return a, a + 0.5 * drawn(draw + 20, 256, 32)

    def ours(draw: int, statistic: str) -> float:
        a, b = both(draw)
        given = {"a": a, "b": b}
        return reading(views.measure(given, "v")[0], views.series("v", given), statistic)

    def twins(draw: int, weight: float) -> float:
        loss = source("lightly", "loss/barlow_twins_loss.py").BarlowTwinsLoss(lambda_param=weight)
        return float(loss(*(x.double() for x in both(draw))))

    def vicreg(draw: int) -> float:
        a = both(draw)[0] * 0.7
        return float(source("lightly", "loss/vicreg_loss.py").variance_loss(a.double(), 1e-4))

    return [
        Comparison(
            "invariance",
            "lightly",
            "`BarlowTwinsLoss`, λ = 0, over the width, whose variances are 1e-5 larger; 256 × 32",
            lambda draw: ours(draw, "invariance"),
            lambda draw: twins(draw, 0.0) / 32,
        ),
        Comparison(
            "cross_redundancy",
            "lightly",
            "`BarlowTwinsLoss`, what λ weighs, over the pairs; the same",
            lambda draw: ours(draw, "cross_redundancy"),
            lambda draw: (twins(draw, 1.0) - twins(draw, 0.0)) / (32 * 31),
        ),
        Comparison(
            "variance_hinge",
            "lightly",
            "`variance_loss` of `VICRegLoss`; the same, times 0.7",
            lambda draw: measured(both(draw)[0] * 0.7, "variance_hinge"),
            vicreg,
        ),
        Comparison(
            "alignment",
            "the formula of Wang & Isola",
            "mean squared distance of the unit rows; the same",
            lambda draw: ours(draw, "alignment"),
            lambda draw: float(
                (
                    torch.nn.functional.normalize(both(draw)[0].double())
                    - torch.nn.functional.normalize(both(draw)[1].double())
                )
                .square()
                .sum(1)
                .mean()
            ),
        ),
    ]
