"""Features with all that can be known of them, views of one item, and two views of one sample."""

from __future__ import annotations

import torch
from tests.sdk.subjects.subject import Given, Readings, Subject, integers, mask, normal, row_of
from torch import Tensor

from foreshock.measure.statistics import features, views
from foreshock.measure.statistics.part import Part
from foreshock.series import SeriesSpec

WIDTH, CLASSES, VIEWS = 5, 3, 2


def _rows(rows: int, g: torch.Generator) -> Tensor:
    """Of a matrix with a mean and directions of different sizes."""
    size = torch.tensor([3.0, 1.0, 1.0, 0.5, 0.2])
    return normal(rows, WIDTH, generator=g) * size + torch.tensor([0.5, -0.2, 0.0, 0.0, 0.1])


def _draw(rows: int, g: torch.Generator) -> Given:
    labels = integers(CLASSES, rows, generator=g)
    labels[:CLASSES] = torch.arange(CLASSES)[:rows]
    x = _rows(rows, g) + normal(CLASSES, WIDTH, generator=g)[labels]
    return {
        "x": x,
        "valid": mask(rows, generator=g),
        "labels": labels,
        "classifier": normal(CLASSES, WIDTH, generator=g),
        "bias": normal(CLASSES, generator=g),
        "teacher": x + normal(rows, WIDTH, generator=g),
        "previous": x + 0.5 * normal(rows, WIDTH, generator=g),
    }


def _wide(rows: int, g: torch.Generator) -> Given:
    """More columns than rows."""
    return {"x": normal(rows, 40, generator=g) + 0.3, "valid": mask(rows, generator=g)}


def _of_items(rows: int, g: torch.Generator) -> Given:
    items = _rows(rows // VIEWS, g).repeat_interleave(VIEWS, 0)
    return {"x": items + 0.3 * normal(len(items), WIDTH, generator=g), "valid": mask(len(items), generator=g)}


def _read(given: Given) -> Readings:
    classes = len(given["classifier"]) if "classifier" in given else 0
    values, parts = features.measure(given, "h", classes_known=classes)
    return with_host(features.series("h", given, classes_known=classes), values, parts)


def _read_items(given: Given) -> Readings:
    """Of whole items alone: one is left out where a view of it is masked."""
    values, parts = features.measure(given, "h", views=VIEWS, histogram=True)
    return with_host(features.series("h", given), values, parts)


def _pairs(rows: int, g: torch.Generator) -> Given:
    a = _rows(rows, g)
    return {
        "a": a,
        "b": a + 0.5 * normal(rows, WIDTH, generator=g),
        "predictor": normal(WIDTH, WIDTH, generator=g),
    }


def _read_views(given: Given) -> Readings:
    values, parts = views.measure(given, "views")
    return with_host(views.series("views", given), values, parts)


def with_host(specs: list[SeriesSpec], values: Tensor, parts: list[Part]) -> Readings:
    found = row_of(specs, values)
    for part in parts:
        answers = part.problem.solve(part.payload().numpy())
        found |= dict(zip(part.series(), answers, strict=True))
    return found


# Of the precision of the input, below which nothing is taken for a direction.
_ROUNDED = (
    *("numerical_rank", "effective_rank_sigma", "nuclear_rank", "condition_number", "spectral_slope"),
    *("effective_rank", "effective_rank_normalized", "matrix_entropy"),
)
_LOOSE = ("condition_number", "peak_activation", "peak_kurtosis", "spectrum_histogram")
_AVERAGED = (
    *("effective_rank", "effective_rank_normalized", "participation_ratio", "effective_rank_sigma", "rankme"),
    *("stable_rank", "nuclear_rank", "numerical_rank", "tail_rank", "matrix_entropy", "spectral_slope"),
    *("top_share", "embedding_std", "mean_cosine", "mean_cosine_centered", "mean_share"),
    *("rank_one_residual", "class_variability", "variance_hinge", "dead_dimensions", "redundancy"),
    *("top_dimension_share", "uniformity", "vendi_score", "lidar", "alignment"),
    *("invariance", "cross_redundancy", "eigenspace_alignment", "nearest_mean_accuracy"),
)

SUBJECTS = [
    Subject(
        "features",
        _draw,
        _read,
        {"x": 0, "valid": 0, "labels": 0, "teacher": 0, "previous": 0},
        spoiled=("x",),
        scaled=("x", "teacher", "previous", "bias"),
        unscaled=("variance_hinge",),
        halved=("x", "teacher", "previous", "classifier"),
        rounded=_ROUNDED,
        averaged=_AVERAGED,
        loose=_LOOSE,
        apart=0.2,
        tolerance=1e-4,
    ),
    Subject(
        "features, wide",
        _wide,
        _read,
        {"x": 0, "valid": 0},
        spoiled=("x",),
        scaled=("x",),
        unscaled=("variance_hinge",),
        halved=("x",),
        rounded=_ROUNDED,
        ranked=False,
        tolerance=1e-4,
    ),
    Subject(
        "features of items",
        _of_items,
        _read_items,
        {"x": 0, "valid": 0},
        block=VIEWS,
        scaled=("x",),
        unscaled=("variance_hinge", "spectrum_histogram"),
        ordered=("spectrum_histogram",),  # at the edge of a bin
        halved=("x",),
        rounded=(*_ROUNDED, "spectrum_histogram"),
        averaged=_AVERAGED,
        loose=_LOOSE,
        tolerance=1e-4,
    ),
    Subject(
        "two views",
        _pairs,
        _read_views,
        {"a": 0, "b": 0},
        scaled=("a", "b"),
        unscaled=("variance_hinge",),
        halved=("a", "b", "predictor"),
        rounded=_ROUNDED,
        averaged=_AVERAGED,
        loose=_LOOSE,
        tolerance=1e-4,
    ),
]
