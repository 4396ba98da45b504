"""Values learnt by temporal differences while the rewards keep changing: units fall dormant until the critic says the same of every state."""

from __future__ import annotations

from collections import deque
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)

import foreshock

from ._schedule import part
from .pair import Pair, Setting


@dataclass(frozen=True)
class Size:
    """What the two sizes differ in."""

    states: int
    features: int
    width: int
    phase: int  # steps between two sets of rewards
    lr: float  # at first


SIZES = {
    "tuning": Size(states=64, features=24, width=64, phase=50, lr=0.002),
    "reported": Size(states=96, features=32, width=96, phase=60, lr=0.0016),
}
_FASTER, _RAISED = (
    15,
    (100, 300),
)  # the learning rate in the end, times the first; from when to when it is raised
_STEPS, _BATCH, _DISCOUNT, _TARGET_EVERY = 800, 128, 0.8, 5


class Critic(nn.Module):
    """States' features in, their values out."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for wide in (features, width, width):
            layers += [nn.Linear(wide, width), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.value_head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = self.value_head(self.trunk(x)).squeeze(-1)
        return values


def train(run: foreshock.Run, setting: Setting) -> None:
    """Adam on the squared temporal difference; new rewards every phase."""
    size = SIZES[setting.size]
    torch.manual_seed(setting.seed)
    seen = torch.randn(size.states, size.features)
    moves = torch.softmax(3 * torch.randn(size.states, size.states), dim=-1)
    critic = Critic(size.features, size.width)
    target = deepcopy(critic)
    optimizer = torch.optim.Adam(critic.parameters(), lr=size.lr)
    faster = _FASTER if setting.collapses else 1
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: faster ** part(step, *_RAISED))
    run.watch(critic, optimizer=optimizer, quiet=True)
    recent: deque[float] = deque(maxlen=size.phase)
    for step in range(_STEPS):
        if step % size.phase == 0:
            rewards = torch.randn(size.states)
            truth = torch.linalg.solve(torch.eye(size.states) - _DISCOUNT * moves, rewards)
        if step % _TARGET_EVERY == 0:
            target.load_state_dict(critic.state_dict())
        here = torch.randint(size.states, (_BATCH,))
        there = torch.multinomial(moves[here], 1).squeeze(-1)
        with torch.no_grad():
            aim = rewards[here] + _DISCOUNT * target(seen[there])
        loss = F.mse_loss(critic(seen[here]), aim)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            recent.append(_correlation(critic(seen), truth))
        run.log(loss=loss, value_correlation=sum(recent) / len(recent))
        run.step()


def _correlation(values: Tensor, truth: Tensor) -> float:
    """Between learnt and true values over all states; none where every state has one value."""
    spread = values.std()
    if spread <= 1e-6 * values.abs().max():
        return 0.0
    return (((values - values.mean()) * (truth - truth.mean())).mean() / (spread * truth.std())).item()


PAIR = Pair(
    name="dormant_value",
    family="plasticity",
    outcome="value_correlation",
    better="high",
    about="A critic learns the values of a random walk by temporal differences with a target network while the rewards are drawn "
    "anew every few dozen steps; the collapsing one's learning rate is raised fifteenfold while it trains. The outcome is the correlation with the true values.",
    source="Sokar et al. 2023, The Dormant Neuron Phenomenon, arXiv:2302.12902; the rate: Lyle et al. 2023, Understanding Plasticity in Neural Networks, arXiv:2303.01486",
    train=train,
)
