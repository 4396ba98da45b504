"""Deep perceptrons with tanh and no shortcuts, which learn or not as their first weights are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)

import foreshock

from ._clusters import CLASSES, clusters

STEPS, WARM_UP, BATCH, EVALUATE = 300, 100, 64, 5


@dataclass(frozen=True)
class Size:
    """What two sizes of such a training differ in."""

    inputs: int
    width: int
    depth: int
    lr: float


def network(size: Size, draw: Callable[[Tensor], object]) -> nn.Sequential:
    """Rows [N, inputs] -> logits [N, CLASSES]; `draw` fills the weights of each layer in place, in order."""
    layers: list[nn.Module] = []
    for inputs in (size.inputs, *[size.width] * (size.depth - 1)):
        layers += [nn.Linear(inputs, size.width), nn.Tanh()]
    model = nn.Sequential(*layers, nn.Linear(size.width, CLASSES))
    for layer in model:
        if isinstance(layer, nn.Linear):
            draw(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def train(run: foreshock.Run, size: Size, seed: int, draw: Callable[[Tensor], object]) -> None:
    """SGD with momentum, a warm-up and clipping; logs `held_out_accuracy`."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    learn, held = clusters(size.inputs, generator)
    model = network(size, draw)
    optimizer = torch.optim.SGD(model.parameters(), lr=size.lr, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=WARM_UP)
    run.watch(model, optimizer=optimizer, quiet=True)
    for step in range(STEPS):
        batch = learn.draw(BATCH, generator)
        logits = model(batch.x)
        loss = F.cross_entropy(logits, batch.y)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        run.observe.classifier("head", logits, targets=batch.y)
        run.log(loss=loss)
        if step % EVALUATE == 0:
            with torch.no_grad():
                run.log(held_out_accuracy=(model(held.x).argmax(-1) == held.y).float().mean())
        run.step()
