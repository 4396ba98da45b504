"""A matrix of embeddings in; one row of readings and the product for the host out.

Shape suffixes: N rows, S sampled rows, D width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from foreshock.measure.problems.gram import HISTOGRAM, READINGS
from foreshock.series import SeriesSpec

from . import classes, embedding, masked, picking, spectrum
from .rows import prepare
from .spectrum import Product
from .table import STATISTICS

ROWS = 4096  # per record; part of the definition of a rank, so it never changes within a run
COLUMNS = 4096  # wider matrices are measured on this many columns, evenly spaced and always the same
_CENTRED = ({"centered": "false"}, {"centered": "true"})


def series(place: str, *, wide: bool = False, labelled: bool = False) -> list[SeriesSpec]:
    """What `measure` yields, in order."""
    columns = _columns(wide)
    return [
        *(STATISTICS[name].series(place, columns) for name in embedding.YIELDS),
        *(
            STATISTICS[name].series(place, {**labels, **columns})
            for name, labels in zip(spectrum.YIELDS, _CENTRED, strict=True)
        ),
        *(STATISTICS[name].series(place, columns) for name in classes.YIELDS if labelled),
        STATISTICS["nonfinite_count"].series(place, {"tensor": "activation"}),
    ]


def finished_series(place: str, *, wide: bool = False, histogram: bool = False) -> list[SeriesSpec]:
    """What finishing the product adds, in order."""
    readings = READINGS + HISTOGRAM if histogram else READINGS
    return [STATISTICS[name].series(place, {**labels, **_columns(wide)}) for name, labels in readings]


def measure(given: Mapping[str, Tensor], rows_at_most: int = ROWS) -> tuple[Tensor, Product]:
    """The readings of `series`, and the Gram matrix for the host.

    ``x`` [N, D], or with more leading dimensions, N of all together; ``valid`` [N]; ``labels`` [N] when the classes are
    known; ``uniform`` [N] random numbers, needed when there are more rows than ``rows_at_most``.
    """
    x, valid_S, label_S = given["x"], given["valid"], given.get("labels")
    if len(valid_S) > rows_at_most:
        picked_S = masked.sample(valid_S, given["uniform"], rows_at_most)
        x_SD, valid_S = picking.pick(x, picked_S), valid_S.index_select(0, picked_S)
        label_S = None if label_S is None else label_S.index_select(0, picked_S)
    else:
        x_SD = picking.rows(x)
    rows = prepare(narrowed(x_SD), valid_S)
    ratios, product = spectrum.gram(rows, x_SD.dtype)
    parts = [embedding.collapse(rows), ratios]
    if label_S is not None:
        parts.append(classes.variability(rows, label_S))
    return torch.cat([*parts, embedding.nonfinite(x)]), product


def narrowed(x_SD: Tensor) -> Tensor:
    """At most COLUMNS of its columns."""
    width = x_SD.shape[1]
    if width <= COLUMNS:
        return x_SD
    kept = torch.arange(COLUMNS, device=x_SD.device).mul(width / COLUMNS).long()
    return x_SD.index_select(1, kept)


def _columns(wide: bool) -> dict[str, str]:
    return {"columns": str(COLUMNS)} if wide else {}
