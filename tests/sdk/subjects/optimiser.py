"""An optimizer's step: the rows are those of a weight, which ranks hold shards of."""

from __future__ import annotations

import torch
from tests.sdk.subjects.subject import Given, Readings, Subject, normal, row_of
from torch import Tensor

from foreshock.measure.probes import moments, noise
from foreshock.measure.statistics import (
    STATISTICS,
    conflict,
    gradients,
    moments_of_adam,
    parameters,
    phase,
    sketch,
)
from foreshock.series import SeriesSpec

WIDTH = 6


def _draw(rows: int, g: torch.Generator) -> Given:
    weight, gradient = normal(rows, WIDTH, generator=g), 0.1 * normal(rows, WIDTH, generator=g)
    gradient = gradient * (torch.rand(rows, WIDTH, generator=g) > 0.2)
    return {
        "weight": weight,
        "gradient": gradient,
        "after": weight - 0.01 * gradient,
        "before": gradient + 0.1 * normal(rows, WIDTH, generator=g),
        "first": 0.5 * gradient + 0.02 * normal(rows, WIDTH, generator=g),
        "second": 0.01 * torch.rand(rows, WIDTH, generator=g),
    }


def _named(*names: str) -> list[SeriesSpec]:
    """Of the one place, and of all places together."""
    return [STATISTICS[name].series(place) for name in names for place in ("block", "")]


def read(given: Given) -> Readings:
    """All that is read of a step; the history is one record old, and each of two halves counts as a micro-batch."""
    place = {name: [[x.contiguous()]] for name, x in given.items()}
    layout = sketch.layout(place["weight"])
    by = sketch.Weighing(*torch.tensor(layout.weighing).unbind(0))
    of = {name: sketch.gather(x, layout) for name, x in place.items()}
    direction = sketch.scaled(of["gradient"])
    norms = parameters.norms(place["weight"])
    sizes, peaks = parameters.norms(place["gradient"]), parameters.peaks(place["gradient"])
    now = torch.cat([sizes, peaks])
    ratios, _ = gradients.against_history(now, torch.stack([0.02 * now, torch.full_like(now, 0.01)]))
    paired = gradients.paired(direction, sketch.scaled(of["before"]), by)
    ratio, _ = gradients.noise(paired.narrow(0, 0, 1), torch.zeros(2))
    counted = STATISTICS["nonfinite_count"].series("block", {"tensor": "gradient"})
    adam = moments_of_adam.measure(
        of["gradient"],
        of["first"],
        of["second"],
        torch.tensor(10.0),
        direction,
        by,
        beta=0.999,
        epsilon=1e-8,
    )
    names = (*parameters.YIELDS, *moments.PEAKS, *gradients.SINGLE, *moments.LOST, *gradients.PAIRED)
    values: list[Tensor] = [
        sizes,
        norms,
        parameters.rms(norms, by.size),
        parameters.update_ratios(of["weight"], of["after"], by),
        peaks,
        ratios,
        gradients.single(of["gradient"], direction, of["weight"], by),
        gradients.lost(of["gradient"], of["weight"], of["after"], by),
        paired,
    ]
    return {
        **row_of(_named(*names), torch.cat(values)),
        **row_of(_named(*moments_of_adam.YIELDS), adam),
        **row_of([STATISTICS[moments.NOISE].series("")], ratio),
        **row_of([counted], parameters.counts(place["gradient"])),
        **row_of(
            [STATISTICS[name].series("block") for name in gradients.MATRIX],
            gradients.matrices([given["gradient"]]),
        ),
        **row_of(_named(*conflict.PAIRED), conflict.measure([of["gradient"], of["before"]], by)),
        **row_of(phase.series(["h"]), phase.measure([of["gradient"], of["before"]], by)),
    }


def _batches(rows: int, g: torch.Generator) -> Given:
    """Micro-batches, and what their gradients have in common."""
    return {"parts": 1.0 + normal(rows, WIDTH, generator=g)}


def _read_noise(given: Given) -> Readings:
    parts = given["parts"]
    share = gradients.signal(parts.square().sum(), parts.sum(0).square().sum(), len(parts))
    scale, _ = gradients.noise(share, torch.zeros(2))
    specs = [STATISTICS[name].series("") for name in noise.YIELDS]
    return row_of(specs, torch.cat([scale, torch.full((1,), float(len(parts)))]))


_SHARDED = dict.fromkeys(("weight", "gradient", "after", "before", "first", "second"), 0)

SUBJECTS = [
    Subject(
        "step",
        _draw,
        read,
        _SHARDED,
        scaled=("weight", "gradient", "after", "before", "first"),
        degrees={"gradient_norm": 1, "weight_norm": 1, "weight_rms": 1, "gradient_max": 1},
        unscaled=("adam_rms", "adam_spike_share", "adam_epsilon_share"),
        halved=("gradient",),
        averaged=(
            *("weight_rms", "update_ratio", "gradient_zero_share", "gradient_sign_agreement"),
            *("lost_update_share", "adam_rms", "adam_spike_share", "adam_epsilon_share"),
            *("dormant_gradient_share", "loss_gradient_ratio", "gradient_weight_cosine", "gradient_cosine"),
            *("gradient_momentum_cosine", "loss_gradient_cosine", "matrix_entropy_loss_cosine"),
        ),
        loose=("gradient_rank", "gradient_noise_ratio", "gradient_norm_ratio", "gradient_max_ratio"),
    ),
    Subject("micro-batches", _batches, _read_noise, {"parts": 0}, scaled=("parts",), ranked=False),
]
