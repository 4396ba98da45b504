"""The gradients of several losses at the same coordinates in; how far they agree, and which one is larger, out.

Shape suffixes: L losses, P pairs of them, G places (and the whole, last), S sampled coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from . import sketch

PAIRED = ("loss_gradient_cosine", "loss_gradient_ratio")


def pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Each two of the losses, in the order of the values."""
    return list(combinations(names, 2))


def measure(gradients: Sequence[Tensor], by: sketch.Weighing) -> Tensor:
    """Of each pair of [G, S] gradients the cosine, then of each pair the ratio of the norms, [2 P (G + 1)].

    A cosine is 0 where one of the gradients is zero; a ratio 0 where the first is, infinite where only the second is.
    """
    norms = [
        sketch.with_whole_norm(torch.linalg.vector_norm(gradient_GS, dim=1), by) for gradient_GS in gradients
    ]
    directions = [sketch.scaled(gradient_GS) for gradient_GS in gradients]
    cosine, ratio = [], []
    for (a_GS, a), (b_GS, b) in combinations(list(zip(directions, norms, strict=True)), 2):
        cosine.append(sketch.cosines(a_GS, b_GS, by))
        ratio.append((a / b).masked_fill(a == 0, 0.0))
    return torch.cat([*cosine, *ratio])
