"""Images to learn from, without a download: ten digits as on a pocket calculator, turned, stretched and shifted a little."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

CLASSES = 10
# Rows of three, from above.
_FONT = (
    "111101101101111",
    "010110010010111",
    "111001111100111",
    "111001111001111",
    "101101111001001",
    "111100111001111",
    "111100111101111",
    "111001010010010",
    "111101111101111",
    "111101111001111",
)


def draw(count: int, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images [count, side * side] in about 0 to 1 and their classes [count]; no two are alike."""
    labels = torch.randint(CLASSES, (count,), generator=generator)
    font = torch.tensor([[float(one) for one in glyph] for glyph in _FONT]).view(CLASSES, 1, 5, 3)
    plates = functional.interpolate(
        functional.pad(font, (2, 2, 1, 1)), size=(4 * side, 4 * side), mode="bilinear"
    )[labels]
    angle = (torch.rand(count, generator=generator) - 0.5) * math.radians(16)
    stretch = 0.95 + 0.25 * torch.rand(count, 2, generator=generator)
    shift = 0.1 * (2 * torch.rand(count, 2, generator=generator) - 1)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(count, 2, 2)
    affine = torch.cat([turn * stretch[:, None, :], shift[:, :, None]], 2)
    grid = functional.affine_grid(affine, [count, 1, side, side], align_corners=False)
    return functional.grid_sample(plates, grid, align_corners=False).view(count, side * side), labels


def view(images: Tensor, hidden: float, noise: float, generator: torch.Generator) -> Tensor:
    """The same images with a share of the pixels hidden and noise over the rest: what a self-supervised training sees of them."""
    shown = torch.rand(images.shape, generator=generator) >= hidden
    return images * shown + noise * torch.randn(images.shape, generator=generator)


def nearest_mean_accuracy(seen: Tensor, labels: Tensor, held: Tensor, truth: Tensor) -> float:
    """The share of the held-out rows that lie nearest to the mean of their own class, of standardised features."""
    mean, scale = seen.mean(0), seen.std(0) + 1e-6
    means = torch.stack([((seen - mean) / scale)[labels == one].mean(0) for one in range(CLASSES)])
    return float((torch.cdist((held - mean) / scale, means).argmin(1) == truth).float().mean())
