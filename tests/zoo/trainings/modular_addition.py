"""Addition modulo a prime from part of the table: rounding in the softmax ends the training before it has understood the rest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)

import foreshock

from .pair import Pair, Setting


@dataclass(frozen=True)
class Size:
    """What the two sizes differ in."""

    prime: int
    width: int
    shown: float  # share of the table
    lr: float
    decay: float  # of the twin's weights


SIZES = {
    "tuning": Size(prime=31, width=96, shown=0.58, lr=0.06, decay=0.15),
    "reported": Size(prime=29, width=128, shown=0.62, lr=0.055, decay=0.18),
}
_STEPS, _EVALUATE = 400, 5


class Square(nn.Module):
    """Of each unit: sums become products, which is what this task is made of."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x


def train(run: foreshock.Run, setting: Setting) -> None:
    """AdamW on all of the table that is shown, at every step."""
    size = SIZES[setting.size]
    torch.manual_seed(setting.seed)
    pairs = torch.cartesian_prod(torch.arange(size.prime), torch.arange(size.prime))
    x = F.one_hot(pairs, size.prime).flatten(1).float()
    y = pairs.sum(-1) % size.prime
    rows = torch.randperm(len(y)).split(int(size.shown * len(y)))
    shown, held = rows[0], torch.cat(rows[1:])
    model = nn.Sequential(nn.Linear(2 * size.prime, size.width), Square(), nn.Linear(size.width, size.prime))
    decay = 0.0 if setting.collapses else size.decay
    optimizer = torch.optim.AdamW(model.parameters(), lr=size.lr, weight_decay=decay)
    run.watch(model, optimizer=optimizer, quiet=True)
    for step in range(_STEPS):
        logits = model(x[shown])
        loss = F.cross_entropy(logits, y[shown])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.observe.classifier("sum", logits, targets=y[shown])
        run.log(loss=loss, accuracy=_accuracy(logits, y[shown]))
        if step % _EVALUATE == 0:
            with torch.no_grad():
                run.log(held_out_accuracy=_accuracy(model(x[held]), y[held]))
        run.step()


def _accuracy(logits: Tensor, y: Tensor) -> Tensor:
    return (logits.argmax(-1) == y).float().mean()


PAIR = Pair(
    name="modular_addition",
    family="numerics",
    outcome="held_out_accuracy",
    better="high",
    about="A perceptron learns part of the table of addition modulo a prime in float32, all of that part at every step; the collapsing "
    "one lacks weight decay, so its logits grow until the softmax rounds and no gradient is left. The outcome is the accuracy on the rest of the table.",
    source="Prieto et al. 2025, Grokking at the Edge of Numerical Stability, arXiv:2501.04697",
    train=train,
)
