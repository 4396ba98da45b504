"""VICReg on two noisy views of digits, with and without its variance term."""

from __future__ import annotations

import torch
from tests.zoo.trainings._views import Size, encoder_of, learn
from tests.zoo.trainings.pair import Pair, Setting
from torch import Tensor, nn
from torch.nn import functional

import foreshock

SIZES = {
    "tuning": Size(12, 96, 24, 96, 0.005, 0.4),
    "reported": Size(14, 128, 40, 128, 0.004, 0.3),
}
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0  # weights of the terms, as in the paper


def train(run: foreshock.Run, setting: Setting) -> None:
    """Invariance, variance and covariance of the embeddings; the collapsing one leaves the second out."""
    size = SIZES[setting.size]
    torch.manual_seed(setting.seed)
    variance = 0.0 if setting.collapses else VARIANCE

    def loss_of(z1: Tensor, z2: Tensor, _step: int) -> Tensor:
        return (
            INVARIANCE * functional.mse_loss(z1, z2)
            + variance * (_too_narrow(z1) + _too_narrow(z2))
            + COVARIANCE * (_covariance(z1) + _covariance(z2))
        )

    learn(run, setting.seed, size, nn.ModuleDict({"encoder": encoder_of(size)}), loss_of)


def _too_narrow(z: Tensor) -> Tensor:
    """By how much the deviation of each dimension falls short of 1."""
    return functional.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()


def _covariance(z: Tensor) -> Tensor:
    """Squares of what two dimensions share, per dimension."""
    centred = z - z.mean(0)
    shared = centred.T @ centred / (len(z) - 1)
    return (shared.square().sum() - shared.diagonal().square().sum()) / z.shape[1]


PAIR = Pair(
    name="vicreg",
    family="self-supervised",
    outcome="probe_accuracy",
    better="high",
    about="A VICReg encoder on two noisy views of drawn digits; the collapsing one has no variance term.",
    source="Bardes, Ponce and LeCun 2021, VICReg, arXiv:2105.04906, table 7",
    train=train,
)
