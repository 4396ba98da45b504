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
from ._schedule import part
from .pair import Pair, Setting


@dataclass(frozen=True)
class Size:
    """What the two sizes differ in."""

    inputs: int
    width: int
    noise: tuple[float, float]  # at first, and in the end
    batch: int
    lr: float


SIZES = {
    "tuning": Size(inputs=32, width=64, noise=(0.8, 2.2), batch=32, lr=0.008),
    "reported": Size(inputs=48, width=96, noise=(0.8, 2.0), batch=40, lr=0.009),
}
_STEPS, _SOURCE_STEPS, _WINDOW = 500, 200, 5
_LABELLED = 4  # rows of each batch that somebody labels afterwards, to see how good the adapted model is
_DRIFTS = (60, 400)  # steps between which the noise grows
_FADES = (60, 160)  # … and the term that keeps predictions varied loses its weight


def train(run: foreshock.Run, setting: Setting) -> None:
    """A source is learnt unwatched; then SGD on the entropy of predictions of ever noisier rows. Accuracy falls in both twins, as the rows
    say ever less: what is wrong with one of them is not to be seen by its accuracy at first. Under noise that stays, predictions are sure
    within some dozen steps, and either all is lost by then or nothing more happens. Who has labels for all of the stream need not adapt
    without them; the outcome is an audit of a few rows of each batch."""
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
        noise = size.noise[0] + (size.noise[1] - size.noise[0]) * part(step, *_DRIFTS)
        logits = model(batch.x + noise * torch.randn(batch.x.shape, generator=generator))
        log_p = torch.log_softmax(logits, -1)
        entropy = _entropy(log_p).mean()
        marginal = torch.logsumexp(log_p, 0) - math.log(
            size.batch
        )  # of all predictions of the batch together
        varied = 1.0 - part(step, *_FADES) if setting.collapses else 1.0
        loss = entropy - varied * _entropy(marginal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.observe.adaptation(logits)
        recent.append((logits.argmax(-1) == batch.y)[:_LABELLED].float().mean())
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
    about="A perceptron that has learnt clean classes adapts itself to a stream of ever noisier ones without labels by minimising the entropy of its "
    "predictions; in the collapsing one the term that keeps the predictions of a batch varied fades out. The outcome is the accuracy on the few rows of the last five batches that somebody labels.",
    source="Wang et al. 2021, Tent, arXiv:2006.10726; Niu et al. 2023, arXiv:2302.12400 (one-class collapse); against SHOT, Liang et al. 2020, arXiv:2002.08546",
    train=train,
    begins=_FADES[0],
)
