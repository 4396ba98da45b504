"""Inputs that are shuffled anew again and again: a network that learns each shuffle ever worse has lost its plasticity."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)

import foreshock

from ._clusters import CLASSES, clusters
from .pair import Pair, Setting


@dataclass(frozen=True)
class Size:
    """What the two sizes differ in."""

    inputs: int
    width: int
    tasks: int
    steps: int  # on each shuffle
    lr: float
    towards_start: float  # strength of the pull towards the initial weights


SIZES = {
    "tuning": Size(inputs=32, width=64, tasks=12, steps=40, lr=0.03, towards_start=0.01),
    "reported": Size(inputs=48, width=96, tasks=10, steps=50, lr=0.025, towards_start=0.01),
}
_BATCH = 64


def train(run: foreshock.Run, setting: Setting) -> None:
    """Adam with a large learning rate, one shuffle after another."""
    size = SIZES[setting.size]
    torch.manual_seed(setting.seed)
    generator = torch.Generator().manual_seed(setting.seed)
    learn, _ = clusters(size.inputs, generator)
    model = nn.Sequential(
        nn.Linear(size.inputs, size.width),
        nn.ReLU(),
        nn.Linear(size.width, size.width),
        nn.ReLU(),
        nn.Linear(size.width, size.width),
        nn.ReLU(),
        nn.Linear(size.width, CLASSES),
    )
    start = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.Adam(model.parameters(), lr=size.lr)
    run.watch(model, optimizer=optimizer, quiet=True)
    recent: deque[Tensor] = deque(maxlen=size.steps)
    for step in range(size.tasks * size.steps):
        if step % size.steps == 0:
            shuffle = torch.randperm(size.inputs, generator=generator)
        batch = learn.draw(_BATCH, generator)
        logits = model(batch.x[:, shuffle])
        loss = F.cross_entropy(logits, batch.y)
        recent.append((logits.argmax(-1) == batch.y).float().mean())
        run.log(loss=loss)
        if not setting.collapses:
            loss = loss + size.towards_start * _squared_distance(model, start)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.observe.classifier("head", logits, targets=batch.y)
        # Over as long as a task: how well a shuffle is learnt, wherever in it we are.
        run.log(online_accuracy=torch.stack(list(recent)).mean())
        run.step()


def _squared_distance(model: nn.Module, start: list[Tensor]) -> Tensor:
    return torch.stack(
        [(now - then).pow(2).sum() for now, then in zip(model.parameters(), start, strict=True)]
    ).sum()


PAIR = Pair(
    name="permuted_tasks",
    family="plasticity",
    outcome="online_accuracy",
    better="high",
    about="A perceptron tells classes apart whose inputs are shuffled anew every few dozen steps; the collapsing one lacks the pull "
    "towards its initial weights that keeps its twin able to learn. The outcome is the accuracy over the last task's length.",
    source="Dohare et al. 2024, Loss of plasticity in deep continual learning; against Kumar et al. 2023, arXiv:2308.11958 (L2 Init)",
    train=train,
)
