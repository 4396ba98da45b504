"""A watched perceptron and its optimizer, step by step."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from tests.sdk.recorded import Recorded
from tests.zoo import feedforward
from tests.zoo.models import loss_of, seeded
from torch import Tensor


class Run:
    """A watched perceptron and its optimizer."""

    def __init__(
        self, recorded: Recorded, make: Callable[..., torch.optim.Optimizer], **wishes: object
    ) -> None:
        self.model = seeded(lambda: feedforward.mlp(0.0))
        self.optimizer = make(self.model.parameters(), **wishes)
        self.recorded = recorded
        recorded.instruments.watch(self.model)

    def backward(self, seed: int = 0, rows: int = 16) -> None:
        x = torch.randn(rows, 10, generator=torch.Generator().manual_seed(seed))
        loss_of(self.model(x)).backward()

    def step(self, seed: int = 0) -> dict[str, float]:
        self.optimizer.zero_grad()
        self.backward(seed)
        self.optimizer.step()
        return self.recorded.step()

    def gradient(self, *layers: int) -> Tensor:
        return flat([p.grad for i in layers or (0, 3, 6) for p in self.model[i].parameters()])


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.detach().flatten() for t in tensors]).double()


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def needs(place: ModuleType, name: str, version: str) -> pytest.MarkDecorator:
    """Skips where this torch has no such function or class."""
    reason = f"{place.__name__}.{name} came with torch {version}"
    return pytest.mark.skipif(not hasattr(place, name), reason=reason)
