"""Two views of the same samples, and the predictor between them, in; each one's readings and how they agree out.

Shape suffixes: N samples, D width.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from foreshock.measure.problems import similarity as similarity_problem
from foreshock.series import SeriesSpec

from . import agreement, details, embedding, masked, representation, spectrum
from .features import part
from .part import Part
from .rows import prepare
from .table import STATISTICS

VIEWS = ("a", "b")


def series(place: str, given: Collection[str] = (), *, wide: bool = False) -> list[SeriesSpec]:
    """What `measure` yields, in order."""
    label = representation.columns(wide)
    alone: list[tuple[str, Mapping[str, str]]] = [
        *((name, label) for name in embedding.YIELDS),
        *(
            (name, {**label, "centered": centred})
            for name, centred in zip(spectrum.YIELDS, ("false", "true"), strict=True)
        ),
        *((name, label) for name in details.YIELDS),
        ("nonfinite_count", {"tensor": "activation"}),
    ]
    pair = (*agreement.YIELDS, *(agreement.WITH_PREDICTOR if "predictor" in given else ()))
    return [
        *(STATISTICS[name].series(f"{place}.{view}", labels) for view in VIEWS for name, labels in alone),
        *(STATISTICS[name].series(place, label) for name in pair),
    ]


def measure(
    given: Mapping[str, Tensor],
    place: str = "",
    *,
    histogram: bool = False,
    rows_at_most: int = representation.ROWS,
) -> tuple[Tensor, list[Part]]:
    """The readings of `series`, and what the host is to finish.

    ``a`` and ``b`` [N, D], row i of both from sample i; ``predictor`` [D, D]; ``uniform`` and ``uniform_pairs`` random
    numbers per sample, needed where there are more than ``rows_at_most``, or than `details.ROWS`.
    """
    wide = given["a"].shape[-1] > representation.COLUMNS
    uniform = given.get("uniform_pairs")
    picked_S = None
    valid_S = given["a"].new_ones(len(given["a"]), dtype=torch.bool)
    if len(valid_S) > rows_at_most:
        picked_S = masked.sample(valid_S, given["uniform"], rows_at_most)
        valid_S = valid_S.index_select(0, picked_S)
    both, values, parts = [], [], []
    for view in VIEWS:
        x_ND = given[view]
        x_SD = x_ND if picked_S is None else x_ND.index_select(0, picked_S)
        rows = prepare(representation.narrowed(x_SD), valid_S)
        ratios, product = spectrum.gram(rows, x_SD.dtype)
        second, pairs, similar = details.look(
            rows, product, None if uniform is None else uniform.narrow(0, 0, len(valid_S))
        )
        both.append(rows)
        values += [embedding.collapse(rows), ratios, second, embedding.nonfinite(x_ND)]
        alone = f"{place}.{view}"
        parts += [
            representation.to_finish(product, alone, wide=wide, histogram=histogram).of(view),
            part("similarity", similar, pairs, alone, similarity_problem.READINGS).of(view),
        ]
    values += [agreement.alignment(*both), agreement.correlations(*both)]
    if "predictor" in given:
        values.append(agreement.eigenspaces(both[0], given["predictor"]))
    return torch.cat(values), parts
