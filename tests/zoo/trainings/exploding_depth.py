"""A deep residual network without normalisation: what it adds grows with what it gets, until the steps that its twin bears tear it apart."""

from __future__ import annotations

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
    depth: int
    lr: float


SIZES = {
    "tuning": Size(inputs=32, width=48, depth=8, lr=0.05),
    "reported": Size(inputs=48, width=64, depth=10, lr=0.04),
}
_STEPS, _WARM_UP, _BATCH, _EVALUATE = 400, 300, 64, 5


class Block(nn.Module):
    """Adds a two-layer perceptron of its input to its input."""

    def __init__(self, width: int, normalised: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if normalised else nn.Identity()
        self.hidden = nn.Linear(width, width)
        self.act = nn.ReLU()
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.out(self.act(self.hidden(self.norm(x))))
        return x + added


class Residual(nn.Module):
    """An embedding, blocks, and a classifier."""

    def __init__(self, inputs: int, width: int, depth: int, normalised: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(Block(width, normalised) for _ in range(depth))
        self.norm = nn.LayerNorm(width) if normalised else nn.Identity()
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def train(run: foreshock.Run, setting: Setting) -> None:
    """Adam while its learning rate warms up."""
    size = SIZES[setting.size]
    torch.manual_seed(setting.seed)
    generator = torch.Generator().manual_seed(setting.seed)
    learn, held = clusters(size.inputs, generator)
    model = Residual(size.inputs, size.width, size.depth, normalised=not setting.collapses)
    optimizer = torch.optim.Adam(model.parameters(), lr=size.lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.001, total_iters=_WARM_UP)
    run.watch(model, optimizer=optimizer, quiet=True)
    for step in range(_STEPS):
        batch = learn.draw(_BATCH, generator)
        logits = model(batch.x)
        loss = F.cross_entropy(logits, batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.observe.classifier("head", logits, targets=batch.y)
        run.log(loss=loss, lr=schedule.get_last_lr()[0])
        schedule.step()
        if step % _EVALUATE == 0:
            with torch.no_grad():
                run.log(held_out_accuracy=(model(held.x).argmax(-1) == held.y).float().mean())
        run.step()


PAIR = Pair(
    name="exploding_depth",
    family="optimiser",
    outcome="held_out_accuracy",
    better="high",
    about="A deep residual perceptron tells classes apart under Adam while the learning rate warms up; the collapsing one lacks "
    "layer normalisation, so what its blocks add grows with what they get, and the gradient with both.",
    source="Xiong et al. 2020, On Layer Normalization in the Transformer Architecture, arXiv:2002.04745; De and Smith 2020, arXiv:2002.10444",
    train=train,
)
