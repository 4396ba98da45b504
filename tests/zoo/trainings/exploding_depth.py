"""A deep plain network whose first weights are too large: what is alike comes out unlike, and the gradient grows with every layer it goes back."""

from __future__ import annotations

from torch import nn

import foreshock

from . import _deep
from .pair import Pair, Setting

SIZES = {
    "tuning": _deep.Size(inputs=32, width=48, depth=20, lr=0.001),
    "reported": _deep.Size(inputs=48, width=64, depth=24, lr=0.0008),
}


def train(run: foreshock.Run, setting: Setting) -> None:
    """From standard normal weights, which nobody divided by the root of the width, or from orthogonal ones."""
    draw = nn.init.normal_ if setting.collapses else nn.init.orthogonal_
    _deep.train(run, SIZES[setting.size], setting.seed, draw)


PAIR = Pair(
    name="exploding_depth",
    family="optimiser",
    outcome="held_out_accuracy",
    better="high",
    about="A deep perceptron with tanh and no shortcuts tells classes apart; the collapsing one begins with standard normal weights, not "
    "scaled by the width, so that the gradient grows with every layer on its way back, its twin with orthogonal ones.",
    source="Schoenholz et al. 2017, Deep Information Propagation, arXiv:1611.01232; Pascanu et al. 2013, On the difficulty of training recurrent neural networks, arXiv:1211.5063",
    train=train,
)
