"""Perceptrons and convolutional networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)


def mlp(dropout: float = 0.1) -> nn.Sequential:
    """`0` linear, `1` ReLU, `2` dropout, …, `6` the output layer."""
    return nn.Sequential(
        nn.Linear(10, 16),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(16, 12),
        nn.Tanh(),
        nn.Dropout(dropout),
        nn.Linear(12, 3),
    )


class FunctionalMLP(nn.Module):
    """Its activations are functions, not modules."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(10, 16)
        self.fc2 = nn.Linear(16, 12)
        self.out = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(F.relu(self.fc2(F.relu(self.fc1(x)))))
        return y


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class ResNet(nn.Module):
    """`conv1`, `layer1`, `layer2`, `avgpool`, `fc`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(8), BasicBlock(8))
        self.layer2 = nn.Sequential(BasicBlock(8), BasicBlock(8))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(F.relu(self.conv1(x))))
        y: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return y


def simple_cnn() -> nn.Sequential:
    """Convolutions in a row: `0`, `2`, then `4` the flattened features, `5` the output layer."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 4, 4)
    )


class ActorCritic(nn.Module):
    """`trunk`, `actor` and `critic`, the last layer of which has one output."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(10, 16), nn.ReLU())
        self.actor = nn.Linear(16, 3)
        self.critic = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(x)
        return self.actor(x), self.critic(x).squeeze(-1)


def images(batch: int = 5) -> Tensor:
    """The same images each time, 8 × 8."""
    return torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def features(batch: int = 64) -> Tensor:
    """The same inputs of a perceptron each time."""
    return torch.randn(batch, 10, generator=torch.Generator().manual_seed(0))
