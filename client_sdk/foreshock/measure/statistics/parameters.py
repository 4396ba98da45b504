"""Gradients and weights, grouped by place, in; norms, largest entries, counts and update ratios per place out.

Shape suffixes: G places (and the whole, last), S sampled coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import sketch
from .embedding import nonfinite

YIELDS = ("gradient_norm", "weight_norm", "weight_rms", "update_ratio")
SMALL = 1 << 18  # values; up to there a copy costs an accelerator less than the calls that it saves
SMALL_ON_CPU = 1 << 12

_typed_norm = any(
    argument.name == "dtype" for argument in torch.ops.aten._foreach_norm.Scalar._schema.arguments
)


def merged(places: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """The same values in fewer tensors: the small ones of each place as one copy, the large ones as they are."""
    return [_merged(place) for place in places]


def norms(places: Sequence[Sequence[Tensor]]) -> Tensor:
    """Euclidean norm of each place's tensors and of all of them, float32, [G + 1]."""
    of_place, start = [], 0
    each = _each_norm([tensor for place in places for tensor in place], 2)
    for place in places:
        of_place.append(torch.linalg.vector_norm(torch.stack(each[start : start + len(place)]).float()))
        start += len(place)
    norm_G = torch.stack(of_place)
    return torch.cat([norm_G, torch.linalg.vector_norm(norm_G).unsqueeze(0)])


def peaks(places: Sequence[Sequence[Tensor]]) -> Tensor:
    """Largest absolute value of each place's tensors and of all of them, float32, [G + 1]; NaN where there is one."""
    flat = [tensor for place in places for tensor in place]
    each = _each_norm(flat, torch.inf) if flat[0].is_cuda else [_peak(tensor) for tensor in flat]
    of_place, start = [], 0
    for place in places:
        of_place.append(torch.stack(each[start : start + len(place)]).float().amax())
        start += len(place)
    peak_G = torch.stack(of_place)
    return torch.cat([peak_G, peak_G.amax().unsqueeze(0)])


def counts(places: Sequence[Sequence[Tensor]]) -> Tensor:
    """How many values of each place are NaN or infinite, [G]."""
    return torch.cat(
        [torch.stack([nonfinite(tensor) for tensor in place]).sum().unsqueeze(0) for place in places]
    )


def norm_shares(places: Sequence[Sequence[Tensor]], copies: Sequence[Sequence[int]]) -> Tensor:
    """The same as `norms` where as many ranks as ``copies`` says hold each tensor: 1/copies of its square counts, [G + 1].

    The squares of what all ranks read add up to the square of the whole.
    """
    each = iter(_each_norm([tensor for place in places for tensor in place], 2))
    of_place = [
        torch.linalg.vector_norm(torch.stack([next(each).float() * count**-0.5 for count in place]))
        for place in copies
    ]
    norm_G = torch.stack(of_place)
    return torch.cat([norm_G, torch.linalg.vector_norm(norm_G).unsqueeze(0)])


def count_shares(places: Sequence[Sequence[Tensor]], copies: Sequence[Sequence[int]]) -> Tensor:
    """The same as `counts`, 1/copies of each tensor's, [G]: what all ranks count adds up."""
    return torch.stack(
        [
            torch.stack([nonfinite(tensor) / count for tensor, count in zip(place, held, strict=True)]).sum()
            for place, held in zip(places, copies, strict=True)
        ]
    )


def rms(norm: Tensor, size_G: Tensor) -> Tensor:
    """Root mean square, from the norms of `norms` and how many values each place has, [G + 1]."""
    return norm / torch.cat([size_G, size_G.sum().unsqueeze(0)]).sqrt()


def update_ratios(before_GS: Tensor, after_GS: Tensor, by: sketch.Weighing) -> Tensor:
    """‖after − before‖/‖before‖ of each place and of all, [G + 1]; 0 where nothing moved, also from zero."""
    moved = torch.linalg.vector_norm(after_GS - before_GS, dim=1)
    moved = sketch.with_whole_norm(moved, by)
    size = sketch.with_whole_norm(torch.linalg.vector_norm(before_GS, dim=1), by)
    return (moved / size).masked_fill(moved == 0, 0.0)


def _each_norm(flat: list[Tensor], order: float) -> list[Tensor]:
    if _typed_norm and all(tensor.dtype != torch.float64 for tensor in flat):  # which no norm may narrow
        return list(torch._foreach_norm(flat, order, dtype=torch.float32))
    return list(torch._foreach_norm(flat, order))


def _peak(tensor: Tensor) -> Tensor:
    return torch.maximum(tensor.amax(), -tensor.amin())  # on a CPU far faster than the norm of order infinity


def _merged(place: Sequence[Tensor]) -> list[Tensor]:
    most = SMALL if place[0].is_cuda else SMALL_ON_CPU
    small = [tensor for tensor in place if tensor.numel() <= most]
    if len(small) < 2:
        return list(place)
    return [torch.cat([tensor.reshape(-1) for tensor in small]), *(t for t in place if t.numel() > most)]
