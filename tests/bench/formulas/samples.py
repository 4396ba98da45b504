"""Samples, codes and units."""

from __future__ import annotations

import torch
from tests.bench.formulas.comparison import Comparison, drawn, reading
from tests.bench.formulas.packages import module
from torch import Tensor

from foreshock.measure.statistics import (
    codebook,
    diversity,
    units,
)


def comparisons() -> list[Comparison]:
    def shown(draw: int) -> dict[str, Tensor]:
        return {"x": drawn(draw, 300, 8) * 1.1, "reference": drawn(draw + 30, 300, 8)}

    def ours(draw: int, statistic: str) -> float:
        return reading(diversity.measure(shown(draw)), diversity.series("g", shown(draw)), statistic)

    def theirs(draw: int, name: str) -> float:
        given = {key: x.double().numpy() for key, x in shown(draw).items()}
        return float(module("prdc").compute_prdc(given["reference"], given["x"], diversity.NEAREST)[name])

    return [
        Comparison(
            f"sample_{name}",
            "prdc",
            "k = 5; 300 generated, 300 real × 8",
            lambda draw, name=name: ours(draw, f"sample_{name}"),  # type: ignore[misc]  # the loop's own name
            lambda draw, name=name: theirs(draw, name),  # type: ignore[misc]
        )
        for name in ("density", "coverage")
    ] + [
        Comparison(
            "codebook_perplexity",
            "the formula of VQ-VAE's code",
            "exp(−Σ p ln(p + 1e-10)), without our correction of the bias; 64 codes, 200 indices per code",
            lambda draw: _perplexity(draw),
            lambda draw: _plain_perplexity(draw),
        ),
        Comparison(
            "dormant_unit_share",
            "the formula of ReDo's code",
            "mean size over (its mean + 1e-9) ≤ 0.1; 200 × 64 units after a ReLU",
            lambda draw: float(units.shares(*units.activity(_units(draw)))[1]),
            lambda draw: _redo(_units(draw), 0.1),
        ),
    ]


def _codes(draw: int) -> Tensor:
    weights = drawn(draw, 64).exp()
    return torch.multinomial(weights, 12800, replacement=True, generator=torch.Generator().manual_seed(draw))


def _perplexity(draw: int) -> float:
    memory = codebook.fresh(64, torch.device("cpu"))
    row, _ = codebook.measure({"index": _codes(draw)}, memory)
    return reading(row, codebook.series("vq"), "codebook_perplexity")


def _plain_perplexity(draw: int) -> float:
    share = torch.bincount(_codes(draw), minlength=64).double() / 12800
    return float((-(share * (share + 1e-10).log()).sum()).exp())


def _units(draw: int) -> Tensor:
    return (drawn(draw, 200, 64, decay=0.7) - 0.05).relu()


def _redo(h: Tensor, tau: float) -> float:
    score = h.double().abs().mean(0)
    return float((score / (score.mean() + 1e-9) <= tau).double().mean())
