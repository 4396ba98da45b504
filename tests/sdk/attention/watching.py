"""Attention alone, watched: what it records, what should be recorded of a layer, and what a training step computes."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from tests.sdk import recorded
from tests.zoo import attending as zoo
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import checkpoint as checkpoints

from foreshock.measure.probes import attention
from foreshock.measure.probes.subject import Subject
from foreshock.measure.statistics import attention as statistics

torch.set_num_threads(1)
ORIGINAL = functional.scaled_dot_product_attention
LEVELS = torch.tensor(statistics.LEVELS)
UNIFORM = torch.rand(statistics.QUERIES, generator=torch.Generator().manual_seed(0))
MEDIAN = "attention_entropy_normalized{{heads=median,place={}}}"


class Recorded(recorded.Recorded):
    """Of attention alone."""

    def __init__(self, every: int = 1) -> None:
        super().__init__({"attention": every})
        self.watch = functools.partial(self.instruments.watch, families=["attention"])


def places(model: nn.Module) -> list[str]:
    return [line.place for line in attention.plan(Subject.of(model))]


def expected(layer: zoo.Attention, x: Tensor, place: str, **options: object) -> dict[str, float]:
    """What is read of a layer, from its projections."""
    with torch.no_grad():
        q, k, _ = layer.heads(x)
        found = statistics.of_queries(q, k, UNIFORM, **options)  # type: ignore[arg-type]  # as it takes them
        row = statistics.layer(found, zoo.HEADS, LEVELS)
    return {spec.key: v for spec, v in zip(statistics.series(place, zoo.HEADS), row.tolist(), strict=True)}


def train(model: nn.Module, x: Tensor | None = None) -> None:
    model(zoo.sequences() if x is None else x).square().mean().backward()


def outcome(
    prepare: Callable[[nn.Module], object] = lambda model: None,
    make: Callable[[], nn.Module] = zoo.Stack,
    run: Callable[[nn.Module], None] = train,
) -> list[Tensor]:
    """Output and gradients of a model that has been prepared before its only step."""
    torch.manual_seed(0)
    model = make()
    prepare(model)
    run(model)
    with torch.no_grad():
        out = model(zoo.sequences())
    return [out, *(p.grad for p in model.parameters() if p.grad is not None)]


def checkpointed(reentrant: bool, make: Callable[[], nn.Module] = zoo.Fused) -> zoo.Stack:
    model = zoo.Stack(make)
    model.call = lambda layer, x: checkpoints.checkpoint(layer, x, use_reentrant=reentrant)
    return model
