"""The same coordinates of a gradient and of Adam's two moments, before the step, in; how well the moments know the gradient, out.

Shape suffixes: G places (and the whole, last), S sampled coordinates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import sketch
from .rows import TINY

YIELDS = ("adam_rms", "adam_spike_share", "adam_epsilon_share", "gradient_momentum_cosine")
SPIKE = 5000.0  # g²/v
NEAR_EPSILON = 10.0  # √v below so many ε


def measure(
    gradient_GS: Tensor,
    first_GS: Tensor,
    second_GS: Tensor,
    step: Tensor,
    direction_GS: Tensor,
    by: sketch.Weighing,
    *,
    beta: float,
    epsilon: float,
) -> Tensor:
    """The values of YIELDS, [4 (G + 1)].

    ``direction_GS`` is the gradient scaled; ``step`` counts the updates so far, a tensor of one number on any device; ``beta`` is the decay of the second moment. As in
    StableAdamW the root mean square compares with the second moment that this gradient has entered, as in SPAM a spike
    with the one before; both without the bias of their start.
    """
    decayed = beta**step
    square_GS = gradient_GS.square()
    known_GS = second_GS / (1.0 - decayed)
    updated_GS = (beta * second_GS + (1.0 - beta) * square_GS) / (1.0 - decayed * beta)
    floor = epsilon**2
    mean_G = (square_GS / updated_GS.clamp_min(max(floor, TINY))).sum(1) / by.taken
    spikes_G = ((square_GS > SPIKE * known_GS) & (second_GS > 0)).sum(1) / by.taken
    padding_G = gradient_GS.shape[1] - by.taken
    quiet_G = ((known_GS < NEAR_EPSILON**2 * floor).sum(1) - padding_G) / by.taken
    return torch.cat(
        [
            sketch.with_whole_mean(mean_G, by).sqrt(),
            sketch.with_whole_mean(spikes_G, by),
            sketch.with_whole_mean(quiet_G, by),
            sketch.cosines(direction_GS, sketch.scaled(first_GS), by),
        ]
    )
