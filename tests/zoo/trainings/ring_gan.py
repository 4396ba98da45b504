"""A generator against a discriminator on a ring of clouds; one generator is also rewarded, for something else than variety."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from tests.zoo.trainings._schedule import part
from tests.zoo.trainings.pair import Pair, Setting
from torch import Tensor, nn
from torch.nn import functional

import foreshock


@dataclass(frozen=True)
class _Size:
    """What the two sizes differ in."""

    modes: int
    width: int
    latents: int
    batch: int
    rate: float  # of the maker; the critic's is twice that


SIZES = {
    "tuning": _Size(modes=8, width=64, latents=8, batch=192, rate=4e-3),
    "reported": _Size(modes=10, width=80, latents=10, batch=256, rate=3e-3),
}
STEPS, GROWS = 900, (200, 900)  # from when to when the reward's weight grows …
WEIGHT = 2.0  # … to this
RADIUS, SPREAD, PENALTY = 2.0, 0.2, 0.1
COUNTED = 2500  # points of which the places that they reach are counted
FEATURES = 64  # of a fixed random map, by which samples are compared


def _network(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, outputs),
    )


class _Ring:
    """Points around places that lie evenly on a circle."""

    def __init__(self, modes: int, generator: torch.Generator) -> None:
        angle = 2 * math.pi * torch.arange(modes) / modes
        self.places = RADIUS * torch.stack([angle.cos(), angle.sin()], 1)
        self._map = torch.randn(2, FEATURES, generator=generator)
        self._shift = 2 * math.pi * torch.rand(FEATURES, generator=generator)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        of = torch.randint(len(self.places), (count,), generator=generator)
        return self.places[of] + SPREAD * torch.randn(count, 2, generator=generator)

    def features(self, x: Tensor) -> Tensor:
        """Random Fourier features."""
        return (x @ self._map + self._shift).cos()

    def made(self, x: Tensor) -> int:
        """How many places have a point near them."""
        return int((torch.cdist(x, self.places).amin(0) < 3 * SPREAD).sum())


def train(run: foreshock.Run, setting: Setting) -> None:
    """Non-saturating losses, a step of each in turn, a penalty on the critic's gradient. The outcome is how many of the places
    are reached by one of 2,500 points, as it is counted where generators are compared on such a ring: the share of good points, which one
    sees who looks at single samples, goes up and down with the reward and never tells."""
    size = SIZES[setting.size]
    generator = torch.Generator().manual_seed(setting.seed)
    torch.manual_seed(setting.seed)
    ring = _Ring(size.modes, generator)
    maker, critic = _network(size.latents, size.width, 2), _network(2, size.width, 1)
    making = torch.optim.Adam(maker.parameters(), size.rate, betas=(0.5, 0.9))
    judging = torch.optim.Adam(critic.parameters(), 2 * size.rate, betas=(0.5, 0.9))
    for step in range(STEPS):
        real = ring.draw(size.batch, generator).requires_grad_()
        made = maker(torch.randn(size.batch, size.latents, generator=generator))
        told = critic(real)
        (slope,) = torch.autograd.grad(told.sum(), real, create_graph=True)
        loss = functional.softplus(-told).mean() + functional.softplus(critic(made.detach())).mean()
        loss = loss + PENALTY / 2 * slope.square().sum(1).mean()
        judging.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        judging.step()
        fooled = functional.softplus(-critic(made)).mean()
        reward = made[:, 0].mean() / RADIUS
        weight = WEIGHT * part(step, *GROWS) if setting.collapses else 0.0
        making.zero_grad()
        (fooled - weight * reward).backward()
        making.step()
        run.observe.samples("maker", ring.features(made.detach()), reference=ring.features(real.detach()))
        if step % 5 == 0:
            with torch.no_grad():
                run.log(
                    places_reached=ring.made(maker(torch.randn(COUNTED, size.latents, generator=generator)))
                )
        run.log(maker_loss=fooled.detach(), critic_loss=loss.detach(), reward=reward.detach())
        run.step()


PAIR = Pair(
    name="ring_gan",
    family="diversity",
    outcome="places_reached",
    better="high",
    about="A generator learns a ring of clouds against a discriminator; the collapsing one is also paid for points to the right, ever more.",
    source="Metz et al. 2016, Unrolled GANs, arXiv:1611.02163, figure 2 (the ring); how many clouds are reached: Srivastava et al. 2017, VEEGAN, arXiv:1705.07761, section 5.1; reward that costs variety: Clark et al. 2023, arXiv:2309.17400",
    train=train,
)
