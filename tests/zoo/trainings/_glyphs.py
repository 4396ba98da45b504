"""Images to learn from, without a download: ten digits as on a pocket calculator, turned, stretched and shifted a little."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

CLASSES = 10
RIDGE = 1e-3  # variance of a feature that counts as little
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


def linear_accuracy(seen: Tensor, labels: Tensor, held: Tensor, truth: Tensor) -> float:
    """The share of the held-out rows that a linear map of the features, by least squares with a ridge, puts into their class. The ridge
    is fixed, so what has shrunk to little counts for little."""
    mean = seen.mean(0)
    x, y = seen - mean, functional.one_hot(labels, CLASSES).float() - 1 / CLASSES
    ridge = RIDGE * len(x) * torch.eye(x.shape[1])
    weights = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
    return float((((held - mean) @ weights).argmax(1) == truth).float().mean())
