"""Of one set of features: spectra, angles, and how alike two sets are."""

from __future__ import annotations

import math
import types

import torch
from tests.bench.formulas.comparison import Comparison, drawn, reading
from tests.bench.formulas.packages import module, stable_lidar, stable_rankme
from torch import Tensor

from foreshock.measure.statistics import (
    diversity,
    features,
    similarity,
)
from foreshock.measure.statistics.rows import prepare


def measured(x: Tensor, statistic: str, *, centered: str = "", views: int = 0, **more: Tensor) -> float:
    valid = torch.ones(len(x), dtype=torch.bool)
    given = {"x": x, "valid": valid, **more}
    classes = len(more["classifier"]) if "classifier" in more else 0
    values, parts = features.measure(given, "h", views=views, classes_known=classes)
    found = dict(zip(features.series("h", given, classes_known=classes), values.tolist(), strict=True))
    for part in parts:
        found |= dict(zip(part.series(), part.problem.solve(part.payload().numpy()), strict=True))
    told = {"centered": centered} if centered else {}
    (value,) = (
        value
        for spec, value in found.items()
        if spec.statistic == statistic and told.items() <= dict(spec.labels).items()
    )
    return value


def comparisons() -> list[Comparison]:
    def wide(draw: int) -> Tensor:
        return drawn(draw, 400, 96, decay=0.5)

    return [
        Comparison(
            "vendi_score",
            "vendi-score",
            "`score_dual`, cosine kernel; 400 × 96, σ ~ i^−½",
            lambda draw: measured(wide(draw), "vendi_score"),
            lambda draw: float(module("vendi_score.vendi").score_dual(wide(draw).double().numpy())),
        ),
        Comparison(
            "sample_vendi",
            "vendi-score",
            "`score_dual`, q = 2; the same",
            lambda draw: reading(diversity.measure({"x": wide(draw)}), diversity.series("g"), "sample_vendi"),
            lambda draw: float(module("vendi_score.vendi").score_dual(wide(draw).double().numpy(), q=2)),
        ),
        Comparison(
            "rankme",
            "stable-pretraining",
            "callback `RankMe`, whose constant is 1e-5 where the paper has 1e-7; the same",
            lambda draw: measured(wide(draw), "rankme"),
            lambda draw: stable_rankme(wide(draw)),
        ),
        Comparison(
            "rankme",
            "the formula of the paper",
            "float64 singular values, constant 1e-7; the same",
            lambda draw: measured(wide(draw), "rankme"),
            lambda draw: _rankme(wide(draw), 1e-7),
        ),
        Comparison(
            "lidar",
            "stable-pretraining",
            "callback `LiDAR`, of embeddings at mean 0 and mean square 1; 80 items × 6 views × 24",
            lambda draw: measured(_items(draw), "lidar", views=6),
            lambda draw: stable_lidar(_items(draw), 80, 6),
        ),
        Comparison(
            "cka",
            "torch-cka",
            "its unbiased HSIC on linear Gram matrices; 96 × 32 and 96 × 40",
            _cka,
            _torch_cka,
        ),
        Comparison(
            "mean_cosine",
            "torchmetrics",
            "mean of `pairwise_cosine_similarity`; 400 × 96",
            lambda draw: measured(wide(draw) + 0.1, "mean_cosine"),
            lambda draw: float(
                module("torchmetrics.functional")
                .pairwise_cosine_similarity((wide(draw) + 0.1).double(), reduction="sum")
                .sum()
                / (400 * 399)
            ),
        ),
        Comparison(
            "uniformity",
            "the formula of Wang & Isola",
            "`pdist(x)²·(−2)`, exp, mean, log; 400 × 96",
            lambda draw: measured(wide(draw), "uniformity"),
            lambda draw: float(
                torch.pdist(torch.nn.functional.normalize(wide(draw).double()))
                .square()
                .mul(-2)
                .exp()
                .mean()
                .log()
            ),
        ),
    ]


def _rankme(x: Tensor, constant: float) -> float:
    s = torch.linalg.svdvals(x.double())
    p = s / s.sum() + constant
    return float((-(p * p.log()).sum()).exp())


def _items(draw: int) -> Tensor:
    x = drawn(draw, 80, 1, 24, decay=0.5) + 0.5 * drawn(draw + 100, 80, 6, 24)
    x = x.reshape(480, 24)
    x = x - x.mean(0)
    return x / x.square().mean().sqrt()


def _cka(draw: int) -> float:
    valid = torch.ones(96, dtype=torch.bool)
    return float(similarity.cka(*(prepare(x, valid) for x in _pair(draw))))


def _pair(draw: int) -> tuple[Tensor, Tensor]:
    x = drawn(draw, 96, 32)
    return x, x @ drawn(draw + 50, 32, 40) + 4 * drawn(draw + 70, 96, 40)


def _torch_cka(draw: int) -> float:
    hsic = module("torch_cka").CKA._HSIC
    K, L = ((x.double() - x.double().mean(0)) for x in _pair(draw))
    K, L = ((x @ x.t()).fill_diagonal_(0.0) for x in (K, L))
    holder = types.SimpleNamespace(device="cpu")
    torch.set_default_dtype(torch.float64)  # it makes its ones in the default type
    try:
        return float(hsic(holder, K, L) / math.sqrt(hsic(holder, K, K) * hsic(holder, L, L)))
    finally:
        torch.set_default_dtype(torch.float32)
