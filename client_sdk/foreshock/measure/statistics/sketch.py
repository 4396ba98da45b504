"""Weights, gradients or an optimizer's state, grouped by place, in; the same few coordinates of each place, as one matrix, out.

Shape suffixes: G places, S sampled coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .rows import TINY

TOTAL, TOTAL_ON_CPU = 1 << 20, 1 << 18  # coordinates of a model
LEAST, MOST = 1 << 14, 1 << 16  # of a place: a cosine of independent vectors reads ±0.008 and ±0.004


@dataclass(frozen=True)
class Layout:
    """Which coordinates stand for each place: evenly spaced ones, the same at every call, on every rank's own shard."""

    strides: tuple[tuple[int, ...], ...]  # of each tensor of each place
    counts: tuple[int, ...]  # coordinates of each place
    sizes: tuple[int, ...]  # values that they stand for

    @property
    def weighing(self) -> list[list[float]]:
        """The numbers of `Weighing`, in order."""
        each = [size / count for size, count in zip(self.sizes, self.counts, strict=True)]
        whole = sum(self.sizes)
        return [
            list(self.counts),
            list(self.sizes),
            each,
            [math.sqrt(one) for one in each],
            [size / whole for size in self.sizes],
        ]


class Weighing(NamedTuple):
    """How much each place counts, as tensors [G]."""

    taken: Tensor  # its coordinates
    size: Tensor  # its values
    each: Tensor  # values that a coordinate stands for
    root: Tensor  # the root of it
    share: Tensor  # of all values


def layout(places: Sequence[Sequence[Tensor]], most: int | None = None) -> Layout:
    """About ``most`` coordinates of each place, or a fair share of the model's: strides without a factor in common with a row's length, so no column is left out."""
    total = TOTAL if places[0][0].is_cuda else TOTAL_ON_CPU
    most = most or min(MOST, max(LEAST, total // len(places)))
    strides, counts, sizes = [], [], []
    for place in places:
        size = sum(tensor.numel() for tensor in place)
        stride = max(1, -(-size // most))
        strides.append(tuple(_coprime(stride, tensor.shape[-1] if tensor.dim() else 1) for tensor in place))
        counts.append(
            sum(-(-tensor.numel() // step) for tensor, step in zip(place, strides[-1], strict=True))
        )
        sizes.append(size)
    return Layout(tuple(strides), tuple(counts), tuple(sizes))


def gather(places: Sequence[Sequence[Tensor]], layout: Layout) -> Tensor:
    """A float32 copy of these coordinates, [G, S]: one line per place, zeros where a place has fewer; one copy in all."""
    longest = max(layout.counts)
    short = longest - min(layout.counts)
    zeros = places[0][0].new_zeros(short) if short else None
    pieces = []
    for place, strides, count in zip(places, layout.strides, layout.counts, strict=True):
        pieces += [strided(tensor, stride) for tensor, stride in zip(place, strides, strict=True)]
        if zeros is not None and count < longest:
            pieces.append(zeros.narrow(0, 0, longest - count))
    return torch.cat(pieces).float().view(len(places), longest)


def strided(tensor: Tensor, stride: int) -> Tensor:
    """Every ``stride``-th value of a tensor, flattened; a view unless the tensor is not contiguous."""
    flat = tensor if tensor.is_contiguous() else tensor.reshape(-1)
    return flat.as_strided((-(-flat.numel() // stride),), (stride,))


def with_whole_norm(norm_G: Tensor, by: Weighing) -> Tensor:
    """Norms of the sampled coordinates, and the norm over all places: each counts as many times as it stands for values, [G + 1]."""
    return torch.cat([norm_G, torch.linalg.vector_norm(norm_G * by.root).unsqueeze(0)])


def with_whole_mean(mean_G: Tensor, by: Weighing) -> Tensor:
    """Means over each place, and the mean over all values, [G + 1]."""
    return torch.cat([mean_G, (mean_G * by.share).sum().unsqueeze(0)])


def with_whole_sum(sum_G: Tensor, by: Weighing) -> Tensor:
    """Sums over the sampled coordinates, and what the sum over all values would be, [G + 1]."""
    return torch.cat([sum_G, (sum_G * by.each).sum().unsqueeze(0)])


def cosines(a_GS: Tensor, b_GS: Tensor, by: Weighing) -> Tensor:
    """Cosine between two sketches whose squares are in range, of each place and of the whole, [G + 1]; 0 where one is zero."""
    dot = with_whole_sum((a_GS * b_GS).sum(1), by)
    a = with_whole_norm(torch.linalg.vector_norm(a_GS, dim=1), by)
    b = with_whole_norm(torch.linalg.vector_norm(b_GS, dim=1), by)
    return (dot / (a * b)).masked_fill(dot == 0, 0.0).clamp(-1.0, 1.0)


def scaled(x_GS: Tensor) -> Tensor:
    """Divided by its largest finite entry, so that no square of it overflows, or vanishes without being negligible."""
    peak = torch.nan_to_num(x_GS, 0.0, 0.0, 0.0).abs().amax()
    return x_GS / peak.clamp_min(TINY)


def _coprime(stride: int, width: int) -> int:
    while stride > 1 and math.gcd(stride, width) > 1:
        stride += 1
    return stride
