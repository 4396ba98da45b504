"""Gradients and weights, grouped by place, in; norms, update ratios and counts per place out.

Shape suffixes: G places (and the whole, last).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .embedding import nonfinite

COORDINATES = 65536  # per place, for the update ratio
SMALL = 1 << 18  # values; up to there a copy costs less than the calls that it saves

_typed_norm = any(
    argument.name == "dtype" for argument in torch.ops.aten._foreach_norm.Scalar._schema.arguments
)


def merged(places: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """The same values in fewer tensors: the small ones of each place as one copy, the large ones as they are."""
    return [_merged(place) for place in places]


def norms(places: Sequence[Sequence[Tensor]]) -> Tensor:
    """Euclidean norm of each place's tensors and of all of them, float32, [G + 1]."""
    flat = [tensor for place in places for tensor in place]
    each = torch._foreach_norm(flat, 2, dtype=torch.float32) if _typed_norm else torch._foreach_norm(flat, 2)
    of_place, start = [], 0
    for place in places:
        of_place.append(torch.linalg.vector_norm(torch.stack(each[start : start + len(place)]).float()))
        start += len(place)
    norm_G = torch.stack(of_place)
    return torch.cat([norm_G, torch.linalg.vector_norm(norm_G).unsqueeze(0)])


def counts(places: Sequence[Sequence[Tensor]]) -> Tensor:
    """How many values of each place are NaN or infinite, [G]."""
    return torch.cat(
        [torch.stack([nonfinite(tensor) for tensor in place]).sum().unsqueeze(0) for place in places]
    )


def samples(places: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """A float32 copy of at most COORDINATES evenly spaced values of each place: the same ones at every call."""
    taken = []
    for place in places:
        stride = max(1, -(-sum(tensor.numel() for tensor in place) // COORDINATES))
        taken.append(torch.cat([_strided(tensor, stride) for tensor in place]).float())
    return taken


def update_ratios(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """‖after − before‖/‖before‖ of each place and of all, [G + 1]; 0 where nothing moved, also from zero."""
    moved = norms([[delta] for delta in torch._foreach_sub(list(after), list(before))])
    size = norms([[sample] for sample in before])
    return (moved / size).masked_fill(moved == 0, 0.0)


def _strided(tensor: Tensor, stride: int) -> Tensor:
    flat = tensor.detach().reshape(-1)
    return flat.as_strided((-(-flat.numel() // stride),), (stride,))


def _merged(place: Sequence[Tensor]) -> list[Tensor]:
    small = [tensor.detach().reshape(-1) for tensor in place if tensor.numel() <= SMALL]
    large = [tensor.detach() for tensor in place if tensor.numel() > SMALL]
    return [torch.cat(small), *large] if small else large
