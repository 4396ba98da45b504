"""Tokens and classes."""

from __future__ import annotations

import math

import torch
from tests.bench.formulas.comparison import Comparison, drawn, reading
from tests.bench.formulas.packages import module
from torch import Tensor

from foreshock.measure.statistics import (
    output,
    tokens,
)


def comparisons() -> list[Comparison]:
    def logits(draw: int) -> Tensor:
        return 3 * drawn(draw, 500, 200)

    def actions(draw: int) -> Tensor:
        return torch.randint(0, 200, (500,), generator=torch.Generator().manual_seed(draw))

    def perplexity(draw: int) -> float:
        logp = tokens.scan(logits(draw), actions=actions(draw))[-1]
        return math.exp(-float(logp.double().mean()))

    def marginal(draw: int) -> float:
        given = {"logits": logits(draw), "valid": torch.ones(500)}
        return reading(output.measure(given, 500), output.series(given, "head"), "output_information")

    def jensen(draw: int) -> float:
        p = logits(draw).double().softmax(1).numpy()
        entropy = module("scipy.stats").entropy
        return float(entropy(p.mean(0)) - entropy(p, axis=1).mean())

    return [
        Comparison(
            "ln π of the tokens taken",
            "torchmetrics",
            "`perplexity` against exp of minus its mean; 500 × 200",
            perplexity,
            lambda draw: float(
                module("torchmetrics.functional.text").perplexity(
                    logits(draw).double().unsqueeze(0), actions(draw).unsqueeze(0)
                )
            ),
        ),
        Comparison(
            "kl_ref_exact",
            "torchmetrics",
            "`kl_divergence`; 500 × 200",
            lambda draw: float(tokens.divergence(logits(draw), logits(draw + 40)).double().mean()),
            lambda draw: float(
                module("torchmetrics.functional").kl_divergence(
                    logits(draw).double().log_softmax(1),
                    logits(draw + 40).double().log_softmax(1),
                    log_prob=True,
                )
            ),
        ),
        Comparison(
            "output_information",
            "scipy",
            "`entropy` of the mean softmax less the mean `entropy`; 500 × 200",
            marginal,
            jensen,
        ),
    ]
