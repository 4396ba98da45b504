"""Self-supervised training on two noisy views of drawn digits; what it is worth is read from the representation of digits not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from tests.zoo.trainings import _glyphs
from torch import Tensor, nn

import foreshock

STEPS, PROBED_EVERY = 300, 5
ITEMS, HELD = 2000, 500
NOISE = 0.2


@dataclass(frozen=True)
class Size:
    """What two sizes of such a training differ in."""

    side: int
    width: int
    embedding: int
    batch: int
    learning_rate: float
    hidden: float  # share of the pixels that a view hides


def encoder_of(size: Size) -> nn.Sequential:
    """Images -> embeddings."""
    return nn.Sequential(
        nn.Linear(size.side**2, size.width),
        nn.BatchNorm1d(size.width),
        nn.ReLU(),
        nn.Linear(size.width, size.embedding),
    )


def learn(
    run: foreshock.Run,
    seed: int,
    size: Size,
    model: nn.ModuleDict,
    loss_of: Callable[[Tensor, Tensor, int], Tensor],
) -> None:
    """SGD with momentum on `loss_of` both embeddings. `model["encoder"]` makes them; logs `probe_accuracy`, of the nearest class mean."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = _glyphs.draw(ITEMS + HELD, size.side, generator)
    encoder = model["encoder"]
    optimizer = torch.optim.SGD(model.parameters(), size.learning_rate, momentum=0.9, weight_decay=5e-4)
    run.watch(model, optimizer=optimizer, quiet=True)
    for step in range(STEPS):
        batch = images[torch.randint(ITEMS, (size.batch,), generator=generator)]
        z1, z2 = (encoder(_glyphs.view(batch, size.hidden, NOISE, generator)) for _ in range(2))
        loss = loss_of(z1, z2, step)
        run.observe.views(z1, z2)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % PROBED_EVERY == 0:
            run.log(probe_accuracy=_probe(encoder, images, labels))
        run.log(loss=loss.detach())
        run.step()


@torch.no_grad()
def _probe(encoder: nn.Module, images: Tensor, labels: Tensor) -> float:
    encoder.eval()
    features = nn.functional.normalize(encoder(images), dim=1)
    encoder.train()
    return _glyphs.linear_accuracy(features[:ITEMS], labels[:ITEMS], features[ITEMS:], labels[ITEMS:])
