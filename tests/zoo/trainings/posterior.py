"""A variational autoencoder whose decoder sees the preceding symbols. The full weight of the divergence makes it do without the latent."""

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

    patterns: int
    length: int
    symbols: int
    width: int
    latents: int
    batch: int
    rate: float
    steps: int


SIZES = {
    "tuning": Size(patterns=24, length=10, symbols=8, width=32, latents=8, batch=48, rate=4e-3, steps=600),
    "reported": Size(
        patterns=32, length=14, symbols=10, width=48, latents=10, batch=64, rate=3e-3, steps=600
    ),
}
CHANGED = 0.05  # of the symbols of a pattern, at random
FREE = 0.5  # nat of each dimension that cost nothing
RAMP, HEAVIEST = (150, 450), 4.0  # steps between which the weight goes from 0 to this


class Autoencoder(nn.Module):
    """`encoder`, `decoder`: a recurrent network that is given the symbols before the one to say."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.symbols = size.symbols
        self.encoder = nn.Sequential(
            nn.Linear(size.length * size.symbols, size.width),
            nn.ReLU(),
            nn.Linear(size.width, 2 * size.latents),
        )
        self.start = nn.Linear(size.latents, size.width)
        self.decoder = nn.GRU(size.symbols + 1, size.width, batch_first=True)
        self.head = nn.Linear(size.width, size.symbols)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(F.one_hot(x, self.symbols).float().flatten(1)).chunk(2, -1)
        return mean, log_variance

    def decode(self, z: Tensor, x: Tensor) -> Tensor:
        """Logits of each symbol given those before it."""
        before = F.pad(F.one_hot(x[:, :-1], self.symbols + 1), (0, 0, 1, 0)).float()
        states, _ = self.decoder(before, self.start(z).tanh()[None])
        logits: Tensor = self.head(states)
        return logits

    @torch.no_grad()
    def rebuild(self, x: Tensor) -> Tensor:
        """The likeliest symbols, one after another, from the latent alone."""
        hidden = self.start(self.encode(x)[0]).tanh()[None]
        given = torch.zeros(len(x), 1, self.symbols + 1)
        said = []
        for _ in range(x.shape[1]):
            state, hidden = self.decoder(given, hidden)
            said.append(self.head(state[:, 0]).argmax(-1))
            given = F.one_hot(said[-1], self.symbols + 1).float()[:, None]
        return torch.stack(said, 1)


def train(run: foreshock.Run, setting: Setting) -> None:
    """Likelihood with annealing of the divergence; the outcome is what of a sequence can be told from its latent."""
    size = SIZES[setting.size]
    torch.manual_seed(setting.seed)
    patterns = torch.randint(size.symbols, (size.patterns, size.length))
    model = Autoencoder(size)
    optimizer = torch.optim.Adam(model.parameters(), lr=size.rate)
    held_out = _sequences(patterns, size.symbols, 128)
    run.watch(model, optimizer=optimizer, quiet=True)
    for step in range(size.steps):
        x = _sequences(patterns, size.symbols, size.batch)
        mean, log_variance = model.encode(x)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        error = F.cross_entropy(model.decode(z, x).flatten(0, 1), x.flatten(), reduction="sum") / len(x)
        divergence = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).mean(0)
        if not setting.collapses:
            divergence = divergence.clamp_min(FREE)
        weight = HEAVIEST * part(step, *RAMP)
        optimizer.zero_grad()
        (error + weight * divergence.sum()).backward()
        optimizer.step()
        run.observe.latents("latent", mean, log_variance)
        if step % 5 == 0:
            run.log(rebuilt=(model.rebuild(held_out) == held_out).float().mean())
        run.log(loss=error, divergence_weight=weight)
        run.step()


def _sequences(patterns: Tensor, symbols: int, count: int) -> Tensor:
    x = patterns[torch.randint(len(patterns), (count,))]
    return torch.where(torch.rand(x.shape) < CHANGED, torch.randint(symbols, x.shape), x)


PAIR = Pair(
    name="posterior",
    family="latents",
    outcome="rebuilt",
    better="high",
    about="A VAE of noisy sequences with an autoregressive decoder; the weight of the divergence is annealed to 4, and the collapsing one has no free bits.",
    source="Bowman et al. 2016, arXiv:1511.06349; free bits: Kingma et al. 2016, arXiv:1606.04934",
    train=train,
    begins=RAMP[0],
)
