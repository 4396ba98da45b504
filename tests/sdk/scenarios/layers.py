"""Attention, classifiers, adaptation, layers and units."""

from __future__ import annotations

import math

import torch
from tests.sdk.scenarios.scenario import Scenario, filled, none, shown
from tests.sdk.subjects.attention import TOKENS
from tests.sdk.subjects.output import CLASSES
from tests.sdk.subjects.subject import Readings, row_of
from torch import Tensor

from foreshock.measure.statistics import STATISTICS, embedding, norms

FIRST = torch.eye(CLASSES)[:1] * 400


def _to_the_first(logits: Tensor) -> Tensor:
    return FIRST.expand(len(logits), CLASSES).clone()


def _only_one_class(logits: Tensor) -> Tensor:
    return FIRST.masked_fill(FIRST == 0, -math.inf).expand(len(logits), CLASSES).clone()


def _variances(value: float) -> Readings:
    return row_of([STATISTICS["variance_dead_share"].series("bn")], norms.dead(torch.full((4,), value), 1e-5))


def _nothing_counted() -> Readings:
    return row_of([STATISTICS["nonfinite_count"].series("x")], embedding.nonfinite(torch.zeros(0, 3)))


EVEN_SINK = sum(1 / seen for seen in range(2, TOKENS + 1)) / (
    TOKENS - 1
)  # of causal attention without preference
STREAM = "normalisation layer"

SCENARIOS = [
    Scenario(
        "one key",
        shown("attention", q=lambda x: x[:, :, :1], k=lambda x: x[:, :, :1]),
        "no query sees two keys",
    ),
    Scenario("logits equal", shown("attention", q=none), "^[01] for equal logits|zero queries or keys"),
    Scenario(
        "logits equal: sink",
        shown("attention", k=none),
        "the mean of 1/n_i for equal logits",
        expected=EVEN_SINK,
    ),
    Scenario(
        "one key of a softmax",
        shown("attention, of logits", s=lambda x: x[..., :1]),
        "no query sees two keys",
    ),
    Scenario("no row of logits", shown("classifier", valid=none), "without valid rows"),
    Scenario(
        "two logits equal",
        shown("classifier", logits=none),
        "when the two are equal|rows predict the same|one class is decided on",
    ),
    Scenario(
        "nothing is known",
        shown("classifier", logits=none),
        "^ln C when nothing is known",
        expected=math.log(CLASSES),
    ),
    Scenario(
        "one class for all",
        shown("classifier", logits=_to_the_first),
        "rows predict the same|one class is decided on",
    ),
    Scenario("one target", shown("classifier", targets=none), "targets are equal"),
    Scenario(
        "other classes excluded", shown("classifier", logits=_only_one_class), "other classes are excluded"
    ),
    Scenario("no sample", shown("adaptation", valid=none), "without valid samples"),
    Scenario("no value head", shown("value head", v=torch.zeros(0, 1)), "without outputs|fewer than two"),
    Scenario("one value", shown("value head", v=torch.ones(1, 1)), "fewer than two"),
    Scenario("one value for all", shown("value head", v=filled(0.3)), "outputs are equal"),
    Scenario("a stream of zeros", shown(STREAM, x=none, gain=none), "all-zero"),
    Scenario("a stream without rows", shown(STREAM, x=lambda x: x[:0]), "NaN without rows"),
    Scenario("constant channels", lambda: _variances(0.0), "every channel is constant"),
    Scenario("units of zeros", shown("units", h=none), "layer of zeros"),
    Scenario(
        "units without rows", shown("units", h=lambda x: x[:0]), "without finite rows|no row was finite"
    ),
    Scenario(
        "units that are not finite",
        shown("units", h=filled(math.nan)),
        "more than half of them are not finite|no row was finite",
    ),
    Scenario("no values", _nothing_counted, "without values"),
]
