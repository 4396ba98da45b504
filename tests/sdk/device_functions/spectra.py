"""What features, views, fixed batches and weights are shown to."""

from __future__ import annotations

from functools import partial

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator, matrix
from torch import Tensor

from foreshock.measure.problems import collapse as collapse_problem
from foreshock.measure.problems import krylov as krylov_problem
from foreshock.measure.problems import lidar as lidar_problem
from foreshock.measure.problems import similarity as similarity_problem
from foreshock.measure.problems import weights as weights_problem
from foreshock.measure.statistics import (
    features,
    krylov,
    power,
    product,
    representation,
    similarity,
    spectrum,
    views,
)
from foreshock.measure.statistics.rows import prepare
from foreshock.measure.statistics.table import STATISTICS
from foreshock.series import SeriesSpec

CLASSES = 5


def _features(rows: int, width: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    g = generator()
    return {
        **matrix(rows, width, dtype),
        "uniform_pairs": torch.rand(rows, generator=g),
        "classifier": torch.randn(CLASSES, width, generator=g).to(dtype),
        "bias": torch.randn(CLASSES, generator=g),
        "teacher": torch.randn(rows, width + 3, generator=g),
        "previous": torch.randn(rows, 7, generator=g),
    }


def _of_features(given: dict[str, Tensor], rows_at_most: int, views: int = 0) -> list[Tensor]:
    values, parts = features.measure(
        given, "h", classes_known=CLASSES, views=views, histogram=True, rows_at_most=rows_at_most
    )
    return [values, *(part.payload() for part in parts)]


def _named(readings: tuple[tuple[str, object], ...]) -> list[SeriesSpec]:
    return [STATISTICS[name].series("h", labels) for name, labels in readings]  # type: ignore[arg-type]  # a mapping


_FEATURES = [
    *features.series("h", _features(8, 8), classes_known=CLASSES),
    *representation.finished_series("h", histogram=True),
    *_named(similarity_problem.READINGS),
    *_named(collapse_problem.READINGS),
    *_named(lidar_problem.READINGS),
]


def _views(rows: int, width: int) -> dict[str, Tensor]:
    g = generator()
    return {
        "a": torch.randn(rows, width, generator=g),
        "b": torch.randn(rows, width, generator=g),
        "predictor": torch.randn(width, width, generator=g),
        "uniform": torch.rand(rows, generator=g),
        "uniform_pairs": torch.rand(rows, generator=g),
    }


def _of_views(given: dict[str, Tensor], rows_at_most: int) -> list[Tensor]:
    values, parts = views.measure(given, "views", rows_at_most=rows_at_most)
    return [values, *(part.payload() for part in parts)]


def _drift(given: dict[str, Tensor]) -> list[Tensor]:
    rows = prepare(given["x"], given["valid"])
    baseline = similarity.empty(rows)
    first, baseline = similarity.drift(rows, baseline)
    return [first, similarity.drift(prepare(given["x"] * 2, given["valid"]), baseline)[0]]


def _krylov(given: dict[str, Tensor]) -> list[Tensor]:
    rows = prepare(given["x"], given["valid"])
    _, gram = spectrum.gram(rows, given["x"].dtype)
    draws = krylov.Draws(given["start"], given["refill"], given["signs"])
    return [krylov.sketch(gram, draws)[0]]


def _krylov_inputs() -> dict[str, Tensor]:
    draws = krylov.Draws.of(600, generator(), torch.device("cpu"))
    return {
        **matrix(640, 600),
        "start": draws.start,
        "refill": draws.refill,
        "signs": draws.signs,
    }


def _weight(rows: int, width: int, dtype: torch.dtype) -> dict[str, Tensor]:
    g = generator()
    return {
        "weight": torch.randn(rows, width, generator=g).to(dtype),
        "direction": torch.nn.functional.normalize(torch.randn(width, generator=g), dim=0),
    }


def _of_weight(given: dict[str, Tensor]) -> list[Tensor]:
    value, direction = power.improve(given["weight"], power.first(given["weight"], given["direction"]))
    return [power.readings(given["weight"], value), direction, product.gram(given["weight"])]


_WEIGHTS = [
    STATISTICS[name].series("w") for name in (*power.YIELDS, *(n for n, _ in weights_problem.READINGS))
]

FUNCTIONS = [
    DeviceFunction(
        "features", lambda: _features(96, 16), partial(_of_features, rows_at_most=1000, views=2), _FEATURES
    ),
    DeviceFunction(
        "features, sampled", lambda: _features(200, 16), partial(_of_features, rows_at_most=100), _FEATURES
    ),
    DeviceFunction(
        "features, wide",
        lambda: _features(16, 96),
        partial(_of_features, rows_at_most=1000, views=4),
        _FEATURES,
    ),
    DeviceFunction(
        "features, half precision",
        lambda: _features(600, 16, torch.bfloat16),
        partial(_of_features, rows_at_most=1000, views=3),
        _FEATURES,
    ),
    DeviceFunction(
        "views",
        lambda: _views(60, 12),
        partial(_of_views, rows_at_most=1000),
        views.series("views", _views(2, 2)),
    ),
    DeviceFunction(
        "views, sampled, wide",
        lambda: _views(60, 80),
        partial(_of_views, rows_at_most=40),
        views.series("views", _views(2, 2)),
    ),
    DeviceFunction(
        "drift",
        lambda: matrix(40, 12),
        _drift,
        [
            STATISTICS[name].series("h", {"against": "baseline"} if name == "cka" else {})
            for name in similarity.DRIFT
        ],
    ),
    DeviceFunction(
        "krylov", _krylov_inputs, _krylov, _named((*krylov_problem.READINGS, *krylov_problem.OF_SMALL))
    ),
    DeviceFunction("weight", lambda: _weight(24, 40, torch.float32), _of_weight, _WEIGHTS),
    DeviceFunction("weight, half precision", lambda: _weight(40, 24, torch.bfloat16), _of_weight, _WEIGHTS),
]
