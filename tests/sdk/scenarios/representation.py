"""Features, views, classes, drift, weights."""

from __future__ import annotations

import functools
import math

import torch
from tests.sdk.scenarios.scenario import Scenario, filled, first, none, repeated, shown
from tests.sdk.subjects.representation import CLASSES, WIDTH, with_host
from tests.sdk.subjects.subject import Readings, row_of
from torch import Tensor

from foreshock.measure.problems import weights as weights_problem
from foreshock.measure.problems.weights import Weights
from foreshock.measure.statistics import (
    STATISTICS,
    adaptation,
    features,
    phase,
    power,
    product,
    similarity,
    sketch,
)
from foreshock.measure.statistics.rows import prepare

ALL, ITEMS, PAIR = "features", "features of items", "two views"
CENTRED = {"centered": "true"}


def _centred(labels: dict[str, str]) -> bool:
    return CENTRED.items() <= labels.items()


def _raw(labels: dict[str, str]) -> bool:
    return not _centred(labels)


def _histogram(x: Tensor) -> Readings:
    given = {"x": x, "valid": torch.ones(len(x), dtype=torch.bool)}
    values, parts = features.measure(given, "h", histogram=True)
    return with_host(features.series("h", given), values, parts)


def _one_column() -> Readings:
    return _histogram(torch.arange(9.0).unsqueeze(1))


def _classes_at_points(previous: Tensor) -> Tensor:
    """The layer before, every class one point."""
    labels = _labels()
    return torch.eye(CLASSES, previous.shape[1]).index_select(0, labels)


def _labels() -> Tensor:
    return torch.arange(24) % CLASSES


def _equal_means(x: Tensor) -> Tensor:
    """Pairs of opposite rows of one class: every class mean is zero, and exactly so."""
    half = x[:12]
    return torch.stack([half, -half], 1).reshape(24, -1)


def _drift(*records: Tensor) -> Readings:
    valid = torch.ones(len(records[0]), dtype=torch.bool)
    baseline = similarity.empty(prepare(records[0], valid))
    for x in records:
        values, baseline = similarity.drift(prepare(x, valid), baseline)
    labels = {"cka": {"against": "baseline"}}
    return row_of([STATISTICS[name].series("h", labels.get(name)) for name in similarity.DRIFT], values)


def _weights(weight: Tensor) -> Readings:
    direction = torch.nn.functional.normalize(torch.ones(weight.shape[1]), dim=0)
    value, _ = power.improve(weight, power.first(weight, direction))
    found = row_of([STATISTICS[name].series("w") for name in power.YIELDS], power.readings(weight, value))
    answers = Weights(*weight.shape).solve(product.gram(weight).numpy())
    names = (STATISTICS[name].series("w", labels) for name, labels in weights_problem.READINGS)
    return found | dict(zip(names, answers, strict=True))


def _of_one_row() -> Readings:
    """The gradient of an entropy that is none, beside any other."""
    weight = torch.eye(WIDTH, requires_grad=True)
    (found,) = torch.autograd.grad(phase.entropy(X[:1] @ weight), weight)
    layout = sketch.layout([[weight.detach()]])
    steep = [sketch.gather([[one]], layout) for one in (torch.ones_like(found), found)]
    values = phase.measure(steep, sketch.Weighing(*torch.tensor(layout.weighing).unbind(0)))
    return row_of(phase.series(["h"]), values)


def _adapted(logits: Tensor) -> Readings:
    memory = torch.zeros(adaptation.ROWS, logits.shape[1])
    row = adaptation.measure({"logits": logits, "valid": torch.ones(len(logits))}, memory, 100)
    return row_of(adaptation.series("head"), row)


X = torch.randn(24, WIDTH, generator=torch.Generator().manual_seed(1))

SCENARIOS = [
    Scenario("all zero", shown(ALL, x=none), "all-zero matrix"),
    Scenario("all zero, in bins", lambda: _histogram(torch.zeros(9, 4)), "all-zero matrix"),
    Scenario("constant rows", shown(ALL, x=repeated), "centred,? for constant rows", only=_centred),
    Scenario(
        "constant rows, in any form",
        shown(ALL, x=repeated),
        "and (for )?constant rows|^NaN for an all-zero matrix, constant rows|hence for all-zero",
        names=("rank_one_residual", "condition_number", "spectral_slope"),
    ),
    Scenario("constant rows, in bins", lambda: _histogram(repeated(X)), "and constant rows"),
    Scenario(
        "equal rows",
        shown(ALL, x=repeated),
        "rows are (all )?equal|rows that are all equal|rows point the same way|all rows of one are equal",
    ),
    Scenario(
        "no valid row",
        shown(ALL, valid=none),
        "fewer than two valid rows|without valid rows|fewer than two rows that|without rows|fewer than two that differ|fewer than two classes|fewer than four rows",
    ),
    Scenario(
        "one valid row",
        shown(ALL, valid=first(1)),
        "fewer than two valid rows|fewer than two rows that|fewer than two that differ|fewer than two classes|fewer than four rows",
    ),
    Scenario("one row, differentiated", _of_one_row, "fewer than two valid rows"),
    Scenario("one valid row, in bins", lambda: _histogram(X[:1]), "fewer than two valid rows"),
    Scenario(
        "three valid rows",
        shown(ALL, valid=first(3)),
        "fewer than four rows|centred four",
        only=lambda labels: labels.get("centered") != "false",
    ),
    Scenario("one column", _one_column, "^NaN for one column"),
    Scenario("one column of rank", _one_column, "^clamped to 1…d", expected=1.0),
    Scenario(
        "one dimension moves",
        shown(ALL, x=lambda x: x * torch.eye(WIDTH)[0]),
        "all dimensions but one constant",
    ),
    Scenario(
        "mostly zeros",
        shown(ALL, x=lambda x: x * torch.eye(WIDTH)[0]),
        "more than half of the values are zero",
    ),
    Scenario("one class", shown(ALL, labels=none), "fewer than two classes"),
    Scenario(
        "class means equal",
        shown(ALL, x=_equal_means, labels=torch.arange(24) // 2 % CLASSES, valid=filled(1)),
        "all classes have one mean",
    ),
    Scenario(
        "points before",
        shown(ALL, previous=_classes_at_points, labels=_labels(), valid=filled(1)),
        "a layer whose classes are points",
    ),
    Scenario("items all equal", shown(ITEMS, x=repeated), "^0 when all samples are equal"),
    Scenario("one whole item", shown(ITEMS, valid=first(3)), "fewer than two whole samples"),
    Scenario("no pair", shown(PAIR, a=filled(math.nan)), "without valid pairs"),
    Scenario("a view without differences", shown(PAIR, a=repeated), "all rows of a view are equal"),
    Scenario("a predictor of zeros", shown(PAIR, predictor=none), "all-zero predictor or view"),
    Scenario("a view of zeros", shown(PAIR, a=none), "all-zero predictor or view"),
    Scenario("the first record", functools.partial(_drift, X), "^0 at the first record"),
    Scenario(
        "a baseline without differences",
        functools.partial(_drift, repeated(X), X),
        "all rows of the baseline are equal|all rows of one are equal",
    ),
    Scenario("weights of zeros", lambda: _weights(torch.zeros(60, 50)), "^0 for zero weights"),
    Scenario(
        "weights that are not finite",
        lambda: _weights(torch.full((60, 50), math.nan)),
        "when one is not finite",
    ),
    Scenario("small weights", lambda: _weights(torch.randn(60, 49)), "fewer than 50 eigenvalues"),
    Scenario(
        "one class for all samples",
        lambda: _adapted(torch.eye(4)[:1].expand(9, 4) * 300),
        "one class takes everything|all samples are predicted alike",
    ),
]
