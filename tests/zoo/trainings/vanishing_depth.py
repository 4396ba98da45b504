"""A deep plain network whose first weights are too small: the signal, and the gradient with it, is gone before it reaches the other end."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)

import foreshock

from ._clusters import CLASSES, clusters
from .pair import Pair, Setting


@dataclass(frozen=True)
class Size:
    """What the two sizes differ in."""

    inputs: int
    width: int
    depth: int
    gain: float  # of the collapsing one's first weights; its twin has 1
    lr: float


SIZES = {
    "tuning": Size(inputs=32, width=48, depth=16, gain=0.4, lr=0.001),
    "reported": Size(inputs=48, width=64, depth=20, gain=0.45, lr=0.0008),
}
_STEPS, _BATCH, _EVALUATE = 300, 64, 5


def train(run: foreshock.Run, setting: Setting) -> None:
    """SGD with momentum from orthogonal weights, small or not."""
    size = SIZES[setting.size]
    torch.manual_seed(setting.seed)
    generator = torch.Generator().manual_seed(setting.seed)
    learn, held = clusters(size.inputs, generator)
    layers: list[nn.Module] = [nn.Linear(size.inputs, size.width), nn.Tanh()]
    for _ in range(size.depth - 1):
        layers += [nn.Linear(size.width, size.width), nn.Tanh()]
    model = nn.Sequential(*layers, nn.Linear(size.width, CLASSES))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, gain=size.gain if setting.collapses else 1.0)
            nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=size.lr, momentum=0.9)
    run.watch(model, optimizer=optimizer, quiet=True)
    for step in range(_STEPS):
        batch = learn.draw(_BATCH, generator)
        logits = model(batch.x)
        loss = F.cross_entropy(logits, batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.observe.classifier("head", logits, targets=batch.y)
        run.log(loss=loss)
        if step % _EVALUATE == 0:
            with torch.no_grad():
                run.log(held_out_accuracy=(model(held.x).argmax(-1) == held.y).float().mean())
        run.step()


PAIR = Pair(
    name="vanishing_depth",
    family="optimiser",
    outcome="held_out_accuracy",
    better="high",
    about="A deep perceptron with tanh and no shortcuts tells classes apart; the collapsing one begins with weights so small that each layer "
    "passes on a fraction of what it gets, its twin with orthogonal ones that keep it.",
    source="Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural networks; Saxe et al. 2014, arXiv:1312.6120",
    train=train,
)
