"""A matrix of embeddings in; one row of readings and the product for the host out.

Shape suffixes: N rows, S sampled rows, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from foreshock.measure.problems.gram import HISTOGRAM, READINGS, Gram
from foreshock.series import SeriesSpec

from . import classes, embedding, masked, picking, spectrum
from .part import Part
from .rows import Rows, prepare
from .spectrum import Product
from .table import STATISTICS

ROWS = 4096  # per record; part of the definition of a rank, so it never changes within a run
COLUMNS = 4096  # wider matrices are measured on this many columns, evenly spaced and always the same
_CENTRED = ({"centered": "false"}, {"centered": "true"})


def series(place: str, *, wide: bool = False, labelled: bool = False) -> list[SeriesSpec]:
    """What `measure` yields, in order."""
    label = columns(wide)
    return [
        *(STATISTICS[name].series(place, label) for name in embedding.YIELDS),
        *(
            STATISTICS[name].series(place, {**labels, **label})
            for name, labels in zip(spectrum.YIELDS, _CENTRED, strict=True)
        ),
        *(STATISTICS[name].series(place, label) for name in classes.YIELDS if labelled),
        STATISTICS["nonfinite_count"].series(place, {"tensor": "activation"}),
    ]


def finished_series(place: str, *, wide: bool = False, histogram: bool = False) -> list[SeriesSpec]:
    """What finishing the product adds, in order."""
    readings = READINGS + HISTOGRAM if histogram else READINGS
    return [STATISTICS[name].series(place, {**labels, **columns(wide)}) for name, labels in readings]


def measure(given: Mapping[str, Tensor], rows_at_most: int = ROWS) -> tuple[Tensor, Product]:
    """The readings of `series`, and the Gram matrix for the host.

    ``x`` [N, D], or with more leading dimensions, N of all together; ``valid`` [N]; ``labels`` [N] when the classes are
    known; ``uniform`` [N] random numbers, needed when there are more rows than ``rows_at_most``.
    """
    sample = drawn(given, rows_at_most)
    ratios, product = spectrum.gram(sample.rows, sample.dtype)
    parts = [embedding.collapse(sample.rows), ratios]
    if sample.labels is not None:
        parts.append(classes.variability(sample.rows, sample.labels))
    return torch.cat([*parts, embedding.nonfinite(given["x"])]), product


@dataclass(frozen=True)
class Sample:
    """The rows that are measured."""

    rows: Rows
    labels: Tensor | None
    picked: Tensor | None  # which rows they are, where there were more
    dtype: torch.dtype


def drawn(given: Mapping[str, Tensor], rows_at_most: int = ROWS) -> Sample:
    """At most so many of the rows, valid ones first, prepared."""
    x, valid_S, label_S = given["x"], given["valid"], given.get("labels")
    picked_S = None
    if len(valid_S) > rows_at_most:
        picked_S = masked.sample(valid_S, given["uniform"], rows_at_most)
        x_SD, valid_S = picking.pick(x, picked_S), valid_S.index_select(0, picked_S)
        label_S = None if label_S is None else label_S.index_select(0, picked_S)
    else:
        x_SD = picking.rows(x)
    return Sample(prepare(narrowed(x_SD), valid_S), label_S, picked_S, x_SD.dtype)


def to_finish(product: Product, place: str, *, wide: bool, histogram: bool = False) -> Part:
    """The Gram matrix as a problem for the host."""
    posed = product.problem
    # Not by `replace`, into which the compiler of torch 2.4 does not look.
    problem = Gram(posed.rows, posed.width, posed.centred, posed.rounding, histogram)
    return Part(
        "spectrum with histogram" if histogram else "spectrum",
        problem,
        product.payload,
        lambda: finished_series(place, wide=wide, histogram=histogram),
    )


def narrowed(x_SD: Tensor) -> Tensor:
    """At most COLUMNS of its columns."""
    width = x_SD.shape[1]
    if width <= COLUMNS:
        return x_SD
    kept = torch.arange(COLUMNS, device=x_SD.device).mul(width / COLUMNS).long()
    return x_SD.index_select(1, kept)


def columns(wide: bool) -> dict[str, str]:
    """The label of series that see only some of the columns."""
    return {"columns": str(COLUMNS)} if wide else {}
