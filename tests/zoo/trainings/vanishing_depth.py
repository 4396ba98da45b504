"""A deep plain network whose first weights are too small: the signal, and the gradient with it, is gone before it reaches the other end."""

from __future__ import annotations

from functools import partial

from torch import nn

import foreshock

from . import _deep
from .pair import Pair, Setting

SIZES = {
    "tuning": _deep.Size(inputs=32, width=48, depth=16, lr=0.001),
    "reported": _deep.Size(inputs=48, width=64, depth=20, lr=0.0008),
}
GAINS = {"tuning": 0.4, "reported": 0.45}  # of the collapsing one's first weights; its twin has 1


def train(run: foreshock.Run, setting: Setting) -> None:
    """From orthogonal weights, small or not."""
    gain = GAINS[setting.size] if setting.collapses else 1.0
    _deep.train(run, SIZES[setting.size], setting.seed, partial(nn.init.orthogonal_, gain=gain))


PAIR = Pair(
    name="vanishing_depth",
    family="optimiser",
    outcome="held_out_accuracy",
    better="high",
    about="A deep perceptron with tanh and no shortcuts tells classes apart; the collapsing one begins with weights so small that each layer "
    "passes on a fraction of what it gets, its twin with orthogonal ones that keep it.",
    source="Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural networks; Saxe et al. 2014, arXiv:1312.6120",
    train=train,
)
