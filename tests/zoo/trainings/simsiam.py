"""SimSiam on two noisy views of digits, with and without the stop-gradient."""

from __future__ import annotations

import torch
from tests.zoo.trainings._views import Size, encoder_of, learn
from tests.zoo.trainings.pair import Pair, Setting
from torch import Tensor, nn
from torch.nn import functional

import foreshock

SIZES = {
    "tuning": Size(12, 96, 32, 96, 0.004, 0.4),
    "reported": Size(14, 160, 48, 128, 0.005, 0.3),
}

BEGINS = 120  # the step at which the stop-gradient is lost, as in a resume with other code


def train(run: foreshock.Run, setting: Setting) -> None:
    """Each view predicts the embedding of the other."""
    size = SIZES[setting.size]
    torch.manual_seed(setting.seed)
    predictor = nn.Sequential(
        nn.Linear(size.embedding, size.embedding // 2),
        nn.BatchNorm1d(size.embedding // 2),
        nn.ReLU(),
        nn.Linear(size.embedding // 2, size.embedding),
    )
    model = nn.ModuleDict({"encoder": encoder_of(size), "predictor": predictor})

    def distance(z: Tensor, other: Tensor, step: int) -> Tensor:
        target = other if setting.collapses and step >= BEGINS else other.detach()
        return -functional.cosine_similarity(predictor(z), target).mean()

    def loss_of(z1: Tensor, z2: Tensor, step: int) -> Tensor:
        return (distance(z1, z2, step) + distance(z2, z1, step)) / 2

    learn(run, setting.seed, size, model, loss_of)


PAIR = Pair(
    name="simsiam",
    family="self-supervised",
    outcome="probe_accuracy",
    better="high",
    about="A SimSiam encoder on two noisy views of drawn digits; from a step on the collapsing one lets the gradient into both branches.",
    source="Chen and He 2020, Exploring Simple Siamese Representation Learning, arXiv:2011.10566, figure 2",
    train=train,
    begins=BEGINS,
)
