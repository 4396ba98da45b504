"""Classes to tell apart, without a download: each is a few clouds of points around places drawn at random, so no line parts them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

CLASSES = 10


@dataclass(frozen=True)
class Rows:
    """Points [N, inputs], each coordinate of about unit size, and their classes [N]."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def of(self, classes: Tensor) -> Rows:
        """Those of these classes."""
        chosen = torch.isin(self.y, classes)
        return Rows(self.x[chosen], self.y[chosen])

    def draw(self, count: int, generator: torch.Generator) -> Rows:
        """A batch, with replacement."""
        rows = torch.randint(len(self), (count,), generator=generator)
        return Rows(self.x[rows], self.y[rows])


def clusters(
    inputs: int,
    generator: torch.Generator,
    *,
    clouds: int = 3,
    spread: float = 0.5,
    learn: int = 1500,
    held: int = 500,
) -> tuple[Rows, Rows]:
    """Rows to learn from, and others that are held out; `clouds` of each class, the nearer to 1 their spread the more they overlap."""
    centres = torch.randn(clouds * CLASSES, inputs, generator=generator)
    of = torch.randint(len(centres), (learn + held,), generator=generator)
    x = centres[of] + spread * torch.randn(learn + held, inputs, generator=generator)
    y = of % CLASSES
    return Rows(x[:learn], y[:learn]), Rows(x[learn:], y[learn:])


def perceptron(inputs: int, width: int) -> nn.Sequential:
    """Rows [N, inputs] -> logits [N, CLASSES], by two hidden layers of rectified units."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, CLASSES)
    )
