"""Weights kept in bfloat16: as the learning rate falls, steps round away and the training stands still."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F  # noqa: N812 (the field's own name)

import foreshock

from ._clusters import clusters, perceptron
from .pair import Pair, Setting


@dataclass(frozen=True)
class Size:
    """What the two sizes differ in."""

    inputs: int
    width: int
    lr: float


SIZES = {
    "tuning": Size(inputs=32, width=64, lr=4e-3),
    "reported": Size(inputs=48, width=96, lr=3e-3),
}
_STEPS, _BATCH, _EVALUATE = 800, 64, 5
_LEARN, _SPREAD = (
    20_000,
    0.9,
)  # rows; clouds overlap, so that there is more to learn while the learning rate falls
_LEFT = 0.02  # of the learning rate, at the end


def train(run: foreshock.Run, setting: Setting) -> None:
    """AdamW with a learning rate that falls by equal factors; both compute in bfloat16."""
    size = SIZES[setting.size]
    torch.manual_seed(setting.seed)
    generator = torch.Generator().manual_seed(setting.seed)
    learn, held = clusters(size.inputs, generator, spread=_SPREAD, learn=_LEARN)
    model = perceptron(size.inputs, size.width)
    if setting.collapses:
        model.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=size.lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, _LEFT ** (1 / _STEPS))
    run.watch(model, optimizer=optimizer, quiet=True)
    dtype = model[0].weight.dtype
    for step in range(_STEPS):
        batch = learn.draw(_BATCH, generator)
        with torch.autocast("cpu", torch.bfloat16):  # both compute alike and keep their weights differently
            logits = model(batch.x.to(dtype))
        loss = F.cross_entropy(logits.float(), batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        run.observe.classifier("head", logits.float(), targets=batch.y)
        run.log(loss=loss, lr=schedule.get_last_lr()[0])
        if step % _EVALUATE == 0:
            with torch.no_grad():
                run.log(held_out_loss=F.cross_entropy(model(held.x.to(dtype)).float(), held.y))
        run.step()


PAIR = Pair(
    name="bf16_updates",
    family="numerics",
    outcome="held_out_loss",
    better="low",
    about="A perceptron tells classes apart with bfloat16 arithmetic and a learning rate that falls; the collapsing one keeps its weights in "
    "bfloat16 as well, so that ever more steps round away, its twin keeps them in float32.",
    source="Micikevicius et al. 2018, Mixed Precision Training, arXiv:1710.03740; Zamirai et al. 2020, Revisiting BFloat16 Training, arXiv:2010.06192",
    train=train,
)
