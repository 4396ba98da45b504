"""A classifier that adapts itself to noisy inputs by growing sure of what it says: in the end it says one class of all of them."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)

import foreshock

from ._clusters import Rows, clusters, perceptron
from .pair import Pair, Setting


@dataclass(frozen=True)
class Size:
    """What the two sizes differ in."""

    inputs: int
    width: int
    noise: float
    batch: int
    lr: float


SIZES = {
    "tuning": Size(inputs=32, width=64, noise=1.5, batch=32, lr=0.008),
    "reported": Size(inputs=48, width=96, noise=1.4, batch=40, lr=0.009),
}
_STEPS, _SOURCE_STEPS, _WINDOW = 400, 200, 5


def train(run: foreshock.Run, setting: Setting) -> None:
    """A source is learnt unwatched; then SGD on the entropy of predictions of noisy rows."""
    size = SIZES[setting.size]
    torch.manual_seed(setting.seed)
    generator = torch.Generator().manual_seed(setting.seed)
    learn, stream = clusters(size.inputs, generator)
    model = perceptron(size.inputs, size.width)
    _learn_the_source(model, learn, generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=size.lr, momentum=0.9)
    run.watch(model, optimizer=optimizer, quiet=True)
    recent: deque[Tensor] = deque(maxlen=_WINDOW)
    for step in range(_STEPS):
        batch = stream.draw(size.batch, generator)
        logits = model(batch.x + size.noise * torch.randn(batch.x.shape, generator=generator))
        log_p = torch.log_softmax(logits, -1)
        entropy = _entropy(log_p).mean()
        marginal = torch.logsumexp(log_p, 0) - math.log(
            size.batch
        )  # of all predictions of the batch together
        loss = entropy if setting.collapses else entropy - _entropy(marginal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.observe.adaptation(logits)
        recent.append((logits.argmax(-1) == batch.y).float().mean())
        run.log(entropy=entropy)
        if step % _WINDOW == _WINDOW - 1:  # each batch counts once, so that one odd batch is one odd reading
            run.log(accuracy=torch.stack(list(recent)).mean())
        run.step()


def _learn_the_source(model: nn.Module, learn: Rows, generator: torch.Generator) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(_SOURCE_STEPS):
        batch = learn.draw(64, generator)
        optimizer.zero_grad()
        F.cross_entropy(model(batch.x), batch.y).backward()
        optimizer.step()


def _entropy(log_p: Tensor) -> Tensor:
    return -(log_p.exp() * log_p).sum(-1)


PAIR = Pair(
    name="test_time_entropy",
    family="adaptation",
    outcome="accuracy",
    better="high",
    about="A perceptron that has learnt clean classes adapts itself to a stream of noisy ones without labels by minimising the entropy of its "
    "predictions; the collapsing one lacks the term that keeps the predictions of a batch varied. The outcome is the accuracy over the last five batches.",
    source="Wang et al. 2021, Tent, arXiv:2006.10726; Niu et al. 2023, arXiv:2302.12400 (one-class collapse); against SHOT, Liang et al. 2020, arXiv:2002.08546",
    train=train,
)
