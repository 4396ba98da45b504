"""Inputs that are shuffled anew again and again: steps that are made larger help at first, until the network learns each shuffle ever worse."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)

import foreshock

from ._clusters import CLASSES, clusters
from ._schedule import part
from .pair import Pair, Setting


@dataclass(frozen=True)
class Size:
    """What the two sizes differ in."""

    inputs: int
    width: int
    tasks: int
    steps: int  # on each shuffle
    lr: float  # at first


SIZES = {
    "tuning": Size(inputs=32, width=64, tasks=20, steps=40, lr=0.003),
    "reported": Size(inputs=48, width=96, tasks=16, steps=50, lr=0.0025),
}
_BATCH = 64
_FASTER, _RAISED = (
    10,
    (4, 10),
)  # the learning rate in the end, times the first; within which tasks it is raised


def train(run: foreshock.Run, setting: Setting) -> None:
    """Adam, one shuffle after another."""
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
    optimizer = torch.optim.Adam(model.parameters(), lr=size.lr)
    faster = _FASTER if setting.collapses else 1
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: faster ** part(step / size.steps, *_RAISED)
    )
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
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        run.observe.classifier("head", logits, targets=batch.y)
        # Over as long as a task: how well a shuffle is learnt, wherever in it we are.
        run.log(online_accuracy=torch.stack(list(recent)).mean())
        run.step()


PAIR = Pair(
    name="permuted_tasks",
    family="plasticity",
    outcome="online_accuracy",
    better="high",
    about="A perceptron tells classes apart whose inputs are shuffled anew every few dozen steps; the collapsing one's learning rate is "
    "raised tenfold after some of them, as it then learns each one faster. The outcome is the accuracy over the last task's length.",
    source="Dohare et al. 2024, Loss of plasticity in deep continual learning, Nature 632 (it comes sooner with larger steps); Lyle et al. 2023, arXiv:2303.01486",
    train=train,
)
