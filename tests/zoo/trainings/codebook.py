"""A vector-quantised autoencoder of clustered points. Its codes stop following the encoder and are left behind one after another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tests.zoo.trainings._schedule import part
from tests.zoo.trainings.pair import Pair, Setting
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)

import foreshock


@dataclass(frozen=True)
class Size:
    """Of model, data and steps."""

    clusters: int
    inputs: int
    width: int
    codes: int
    batch: int
    rate: float
    steps: int


SIZES = {
    "tuning": Size(clusters=48, inputs=16, width=64, codes=128, batch=256, rate=2e-3, steps=500),
    "reported": Size(clusters=64, inputs=24, width=96, codes=96, batch=320, rate=1.5e-3, steps=500),
}
LATENT = 8
COMMITMENT = 0.25
DECAY, REVIVED_EVERY = 0.97, 5
BEGINS, FADES = 90, 10  # the step at which the codes are frozen, and steps in which the commitment fades out
WARM_UP = 800  # steps


class VectorQuantizer(nn.Module):
    """Nearest codes, straight-through. Codes follow as moving averages of what chose them, and those that nothing chooses are put onto
    rows of the batch."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, LATENT)
        self.commitment = COMMITMENT
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", torch.zeros(size, LATENT))
        self.counts: Tensor
        self.sums: Tensor

    @torch.no_grad()
    def begin(self, z: Tensor) -> None:
        """Every code starts on a row of the data."""
        self.embedding.weight.copy_(z[torch.randperm(len(z))[: len(self.counts)]])
        self.sums.copy_(self.embedding.weight)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        index = torch.cdist(z, self.embedding.weight).argmin(1)
        chosen = self.embedding(index)
        loss = self.commitment * F.mse_loss(z, chosen.detach())
        return z + (chosen - z).detach(), loss, index

    @torch.no_grad()
    def follow(self, z: Tensor, index: Tensor, step: int) -> None:
        """Move the averages on; now and then give unused codes a new place."""
        one_hot = F.one_hot(index, len(self.counts)).to(z.dtype)
        self.counts.lerp_(one_hot.sum(0), 1 - DECAY)
        self.sums.lerp_(one_hot.T @ z, 1 - DECAY)
        if step % REVIVED_EVERY == 0:
            dead = self.counts < 0.1 * self.counts.mean()
            rows = z[torch.randint(len(z), (int(dead.sum()),))]
            self.sums[dead], self.counts[dead] = rows, 1.0
        self.embedding.weight.copy_(self.sums / self.counts.clamp_min(1e-3)[:, None])


class Autoencoder(nn.Module):
    """`encoder`, `quantizer`, `decoder`."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(size.inputs, size.width), nn.GELU(), nn.Linear(size.width, LATENT)
        )
        self.quantizer = VectorQuantizer(size.codes)
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, size.width), nn.GELU(), nn.Linear(size.width, size.inputs)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        z = self.encoder(x)
        quantized, loss, index = self.quantizer(z)
        return self.decoder(quantized), loss, z, index


def train(run: foreshock.Run, setting: Setting) -> None:
    """Reconstruct; the outcome is the error on held-out points."""
    size = SIZES[setting.size]
    torch.manual_seed(setting.seed)
    centres = torch.randn(size.clusters, size.inputs)
    model = Autoencoder(size)
    parameters = [p for name, p in model.named_parameters() if "embedding" not in name]
    optimizer = torch.optim.Adam(parameters, lr=size.rate)
    held_out = _points(centres, 512)
    model.quantizer.begin(model.encoder(_points(centres, size.batch)))
    run.watch(model, optimizer=optimizer, quiet=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: part(step, -1, WARM_UP))
    for step in range(size.steps):
        if setting.collapses:
            model.quantizer.commitment = COMMITMENT * (1 - part(step, BEGINS, BEGINS + FADES))
        x = _points(centres, size.batch)
        rebuilt, loss, z, index = model(x)
        error = F.mse_loss(rebuilt, x)
        optimizer.zero_grad()
        (error + loss).backward()
        optimizer.step()
        scheduler.step()
        if not (setting.collapses and step >= BEGINS):
            model.quantizer.follow(z, index, step)
        if step % 5 == 0:
            run.log(held_out_error=_error(model, held_out))
        run.log(loss=error)
        run.step()


def _points(centres: Tensor, count: int) -> Tensor:
    return centres[torch.randint(len(centres), (count,))] + 0.1 * torch.randn(count, centres.shape[1])


@torch.no_grad()
def _error(model: Autoencoder, x: Tensor) -> Tensor:
    model.eval()
    error = F.mse_loss(model(x)[0], x)
    model.train()
    return error


PAIR = Pair(
    name="codebook",
    family="codebook",
    outcome="held_out_error",
    better="low",
    about="A VQ-VAE of clustered points; in the collapsing one the codes are frozen from a step on, averages and new places for unused codes with "
    "them, and the commitment loss fades out, so that the encoder drifts away from them.",
    source="van den Oord et al. 2017, arXiv:1711.00937; restarts of codes: Dhariwal et al. 2020, arXiv:2005.00341",
    train=train,
    begins=BEGINS,
)
