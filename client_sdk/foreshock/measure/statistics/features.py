"""Features that the loop shows, with what it knows of them, in; all readings of them, and problems for the host, out.

Shape suffixes: N rows, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from foreshock.measure.problems import collapse as collapse_problem
from foreshock.measure.problems import lidar as lidar_problem
from foreshock.measure.problems import similarity as similarity_problem
from foreshock.measure.problems.problem import Problem
from foreshock.series import SeriesSpec

from . import (
    classes,
    collapse,
    details,
    embedding,
    lidar,
    picking,
    representation,
    similarity,
    spectrum,
)
from .part import Part
from .representation import Sample, drawn
from .rows import prepare
from .table import STATISTICS

COMPARED = ("teacher", "previous")  # other representations of the same rows


def series(
    place: str, given: Collection[str], *, wide: bool = False, classes_known: int = 0
) -> list[SeriesSpec]:
    """What `measure` yields, in order, of inputs with these names."""
    label = representation.columns(wide)
    names: list[tuple[str, Mapping[str, str]]] = [
        *((name, label) for name in embedding.YIELDS),
        *(
            (name, {**label, "centered": centred})
            for name, centred in zip(spectrum.YIELDS, ("false", "true"), strict=True)
        ),
        *((name, label) for name in details.YIELDS),
    ]
    if "labels" in given:
        names += [(name, label) for name in classes.YIELDS]
        if classes_known:
            names += [(name, label) for name in collapse.YIELDS]
            names += [(name, label) for name in collapse.WITH_CLASSIFIER if "classifier" in given]
        names += [("class_variability_ratio", label)] if "previous" in given else []
    names += [("cka", {"against": other}) for other in COMPARED if other in given]
    names.append(("nonfinite_count", {"tensor": "activation"}))
    return [STATISTICS[name].series(place, labels) for name, labels in names]


def measure(
    given: Mapping[str, Tensor],
    place: str = "",
    *,
    classes_known: int = 0,
    views: int = 0,
    histogram: bool = False,
    rows_at_most: int = representation.ROWS,
) -> tuple[Tensor, list[Part]]:
    """The readings of `series`, and what the host is to finish.

    ``x``, ``valid``, ``labels`` and ``uniform`` as for `representation.measure`; ``uniform_pairs`` random numbers for at
    least as many rows as are measured; ``classifier`` [C, D] and ``bias`` [C]; ``teacher`` and ``previous`` [N, …],
    other representations of the same rows. ``views`` says that each so many rows are views of one item.
    """
    sample = drawn(given, rows_at_most)
    rows, wide = sample.rows, given["x"].shape[-1] > representation.COLUMNS
    ratios, product = spectrum.gram(rows, sample.dtype)
    uniform = given.get("uniform_pairs")
    second, pairs, similar = details.look(
        rows, product, None if uniform is None else uniform.narrow(0, 0, len(rows.good))
    )
    values = [embedding.collapse(rows), ratios, second]
    parts = [
        representation.to_finish(product, place, wide=wide, histogram=histogram),
        part("similarity", similar, pairs, place, similarity_problem.READINGS),
    ]
    if sample.labels is not None:
        variability = classes.variability(rows, sample.labels)
        values.append(variability)
        if classes_known:
            found, payload, problem = _collapse(given, sample, sample.labels, classes_known)
            values.append(found)
            parts.append(part("collapse", problem, payload, place, collapse_problem.READINGS))
        if "previous" in given:
            values.append(variability / _variability_before(given, sample, sample.labels))
    values += _compared(given)
    if views:
        whitened, views_problem = lidar.lidar(given["x"], given["valid"], views)
        parts.append(part("lidar", views_problem, whitened, place, lidar_problem.READINGS))
    return torch.cat([*values, embedding.nonfinite(given["x"])]), parts


def part(
    name: str,
    problem: Problem,
    payload: Tensor,
    place: str,
    readings: Sequence[tuple[str, Mapping[str, str]]],
) -> Part:
    """A problem whose payload is there already."""
    return Part(
        name,
        problem,
        lambda: payload,
        lambda: [STATISTICS[statistic].series(place, labels) for statistic, labels in readings],
    )


def _collapse(
    given: Mapping[str, Tensor], sample: Sample, label_S: Tensor, classes_known: int
) -> tuple[Tensor, Tensor, Problem]:
    weight_CD = given.get("classifier")
    if weight_CD is not None:
        weight_CD = representation.narrowed(weight_CD)
    return collapse.look(sample.rows, label_S, classes_known, weight_CD, given.get("bias"))


def _variability_before(given: Mapping[str, Tensor], sample: Sample, label_S: Tensor) -> Tensor:
    """Of the layer before, over the rows that are read here."""
    before = given["previous"]
    x_SD = picking.rows(before) if sample.picked is None else picking.pick(before, sample.picked)
    return classes.variability(prepare(representation.narrowed(x_SD), sample.rows.good > 0), label_S)


def _compared(given: Mapping[str, Tensor]) -> list[Tensor]:
    others = [name for name in COMPARED if name in given]
    if not others:
        return []
    chosen_M = similarity.chosen(len(given["valid"]), given["x"].device)
    rows = similarity.few(given["x"], given["valid"], chosen_M)
    return [
        similarity.cka(rows, similarity.few(given[name], given["valid"], chosen_M)).unsqueeze(0)
        for name in others
    ]
