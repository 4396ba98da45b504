"""A mixture of experts on data of several kinds. Without a balancing loss the router sends everything to few experts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tests.zoo.trainings.pair import Pair, Setting
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)

import foreshock


@dataclass(frozen=True)
class Size:
    """Of model, data and steps."""

    kinds: int
    inputs: int
    experts: int
    hidden: int
    batch: int
    rate: float
    steps: int


SIZES = {
    "tuning": Size(kinds=8, inputs=10, experts=8, hidden=20, batch=192, rate=5e-3, steps=600),
    "reported": Size(kinds=12, inputs=12, experts=12, hidden=24, batch=256, rate=4e-3, steps=600),
}
BALANCING = 0.1
OFFSET = 1.0
OWN = 0.7


class Experts(nn.Module):
    """Perceptrons of one hidden layer, side by side."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.randn(size.experts, size.inputs, size.hidden) / size.inputs**0.5)
        self.down = nn.Parameter(torch.randn(size.experts, size.hidden, size.inputs) / size.hidden**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """What each says of each row, [rows, experts, inputs]."""
        hidden = torch.einsum("ni,eih->neh", x, self.up).relu()
        return torch.einsum("neh,eho->neo", hidden, self.down)


class Mixture(nn.Module):
    """Each row goes to the expert with the largest logit, weighted by its probability."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.top_k = 1
        self.router = nn.Linear(size.inputs, size.experts, bias=False)
        nn.init.normal_(self.router.weight, std=0.02)
        self.experts = Experts(size)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output, and Switch's balancing loss: 1 when the load is even."""
        probabilities = self.router(x).softmax(-1)
        chosen = F.one_hot(probabilities.argmax(-1), probabilities.shape[-1])
        y = ((probabilities * chosen)[..., None] * self.experts(x)).sum(1)
        return y, chosen.shape[-1] * (chosen.float().mean(0) * probabilities.mean(0)).sum()


def train(run: foreshock.Run, setting: Setting) -> None:
    """Regression; the outcome is the error on held-out rows."""
    size = SIZES[setting.size]
    torch.manual_seed(setting.seed)
    world = _World(size)
    model = Mixture(size)
    optimizer = torch.optim.Adam(model.parameters(), lr=size.rate)
    held_out = world.rows(512)
    run.watch(model, optimizer=optimizer, quiet=True)
    for step in range(size.steps):
        x, target = world.rows(size.batch)
        y, imbalance = model(x)
        error = F.mse_loss(y, target)
        loss = error if setting.collapses else error + BALANCING * imbalance
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 5 == 0:
            run.log(held_out_error=_error(model, *held_out))
        run.log(loss=error)
        run.step()


class _World:
    """Rows around a centre for each kind; each kind is mapped in its own way."""

    def __init__(self, size: Size) -> None:
        self.centres = 2 * torch.randn(size.kinds, size.inputs) / size.inputs**0.25
        shared, own = (
            torch.randn(1, size.inputs, size.inputs),
            torch.randn(size.kinds, size.inputs, size.inputs),
        )
        self.maps = (shared + OWN * own) / size.inputs**0.5

    def rows(self, count: int) -> tuple[Tensor, Tensor]:
        kind = torch.randint(len(self.centres), (count,))
        x = self.centres[kind] + torch.randn(count, self.centres.shape[1])
        return x + OFFSET, torch.einsum("nio,ni->no", self.maps[kind], x - self.centres[kind])


@torch.no_grad()
def _error(model: Mixture, x: Tensor, target: Tensor) -> Tensor:
    model.eval()
    error = F.mse_loss(model(x)[0], target)
    model.train()
    return error


PAIR = Pair(
    name="experts",
    family="experts",
    outcome="held_out_error",
    better="low",
    about="A mixture of experts, one per row, on a regression of several kinds; no balancing loss.",
    source="Shazeer et al. 2017, arXiv:1701.06538; the balancing loss of the twin: Fedus et al. 2021, arXiv:2101.03961",
    train=train,
)
