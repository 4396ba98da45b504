"""A table of what the ranks read -> columns: each statistic as one process would have read it, and each rank's distance from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foreshock_server.ranks.gathering import Labels, Subject, Table, labelled
from foreshock_server.ranks.merging import Held, disagreement, distances, merged, of_parts, usual
from foreshock_server.store.series import NewSeries

BASELINE = 10  # steps that tell how far ranks usually are from each other; frozen then
DISAGREEMENT = ("rank_disagreement", "numerics")
_ABOUT = {
    "title": "Distance of this rank from the others, in multiples of the usual one",
    "low": 0.0,
    "high": None,
    "source": "upper quartile over all statistics of |value − median of the ranks| / its median over the first records",
}


@dataclass(frozen=True)
class Column:
    """New readings of one series."""

    series: NewSeries
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.float64]  # [n], of a vector [n, entries]
    there: NDArray[np.bool_] | None = None  # the same; None: all of them


def merged_columns(table: Table) -> list[Column]:
    """What two ranks or more have read, as one; each statistic at its own steps."""
    several_SN = table.there.sum(2) > 1
    value_SN = np.full(several_SN.shape, np.nan)
    weight_SNR = _weights(table)
    ways: dict[_Way, list[int]] = {}
    for s, one in enumerate(table.subjects):
        ways.setdefault(_way(one, table.ranks), []).append(s)
    for (how, over_columns, held), alike in ways.items():
        chosen_SN = several_SN & np.isin(np.arange(len(several_SN)), alike)[:, None]
        told = table.values[chosen_SN], weight_SNR[chosen_SN], table.there[chosen_SN]
        if held:
            value_SN[chosen_SN], several_SN[chosen_SN] = of_parts(how, over_columns, held, *told)
        else:
            value_SN[chosen_SN] = merged(how, *told)
    times_SN = table.times.max(2, initial=0.0)  # when the last rank closed each step
    columns = []
    for (_, entry), numbered in groupby(enumerate(table.subjects), key=_vector_of):
        some = [s for s, _ in numbered]
        any_N = several_SN[some].any(0)
        if not any_N.any():
            continue
        series, values_NE, there_NE = (
            table.subjects[some[0]].as_series,
            value_SN[some][:, any_N].T,
            several_SN[some][:, any_N].T,
        )
        steps, times = table.steps[any_N], times_SN[some][:, any_N].max(0)
        if entry is None:
            columns.append(Column(series, steps, times, values_NE[:, 0]))
        else:
            columns.append(Column(series, steps, times, values_NE, None if there_NE.all() else there_NE))
    return columns


_Way = tuple[
    str, str, tuple[Held, ...]
]  # over rows, over columns, what each rank has; nothing: rows of its own


def _way(one: Subject, ranks: Sequence[int]) -> _Way:
    """How a statistic is merged, the same for those that can be merged together."""
    return one.how, one.over_columns, tuple(one.held.get(rank, Held(rank)) for rank in ranks if one.held)


def _vector_of(numbered: tuple[int, Subject]) -> tuple[str | int, int | None]:
    """What the entries of one vector share: its key. A number is by itself."""
    s, one = numbered
    return (s, None) if one.entry is None else (one.as_series.key, 0)


def _weights(table: Table) -> NDArray[np.float64]:
    """What counts the rows of each mean: its companion, the statistic of that name with the most of its labels and no other."""
    weights = np.ones(table.values.shape)
    places = {(one.statistic, one.labels): s for s, one in enumerate(table.subjects)}
    named: dict[str, list[Labels]] = {}
    for statistic, labels in places:
        named.setdefault(statistic, []).append(labels)
    for s, one in enumerate(table.subjects):
        fitting = [labels for labels in named.get(one.weight, ()) if set(labels) <= set(one.labels)]
        if fitting:
            c = places[one.weight, max(fitting, key=len)]
            counts = table.there[c] & np.isfinite(table.values[c])
            weights[s] = np.where(counts, table.values[c], 0.0)
    return weights


def distance_columns(table: Table, yardsticks: dict[str, Any]) -> list[Column]:
    """Of each rank; the yardsticks of statistics whose first steps these are are added to."""
    several_N = (table.there.sum(2) > 1).any(0)
    if not several_N.any():
        return []
    values_SNR, there_SNR = table.values[:, several_N], table.there[:, several_N]
    shape, ranks = values_SNR.shape, len(table.ranks)
    flat = values_SNR.reshape(-1, ranks), there_SNR.reshape(-1, ranks)
    distance_SNR = distances(*flat).reshape(shape)
    found, measures = [], []
    for s, one in enumerate(table.subjects):
        known = yardsticks.setdefault(one.name, [])
        if len(known) < BASELINE:
            spread = usual(distance_SNR[s], values_SNR[s], there_SNR[s])
            known += spread[np.isfinite(spread)][: BASELINE - len(known)].tolist()
        if known:
            found.append(s)
            measures.append(float(np.median(known)))
    if not found:
        return []
    steps, times = table.steps[several_N], table.times[:, several_N].max((0, 2))
    share = disagreement(distance_SNR[found], np.array(measures))
    columns = []
    for j, rank in enumerate(table.ranks):
        there = ~np.isnan(share[:, j])
        if there.any():
            series = labelled(*DISAGREEMENT, {"rank": str(rank)}, "", _ABOUT)
            columns.append(Column(series, steps[there], times[there], share[there, j]))
    return columns
