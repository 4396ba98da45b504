"""A stored run -> the pairs of entropy and reward that the ceiling law is fitted to. What a later attempt read anew is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from foreshock_server.errors import Invalid, UnknownSeries
from foreshock_server.laws.ceiling import Ceiling, ceiling
from foreshock_server.models import Series
from foreshock_server.store.columns import Columns
from foreshock_server.store.latest import list_series
from foreshock_server.store.overview import shown
from foreshock_server.store.runs import get_run
from foreshock_server.store.series import find_all

ENTROPY = ("policy_entropy",)
REWARDS = ("reward_mean", "reward", "rewards", "train/reward", "mean_reward")  # the first that a run has
POINTS = 2000  # of a long series its means, some more than these


class Found(NamedTuple):
    """The law of a run, and the series that it was fitted to."""

    entropy: Series
    reward: Series
    law: Ceiling


def ceiling_of(session: Session, run_id: str, entropy: str | None = None, reward: str | None = None) -> Found:
    """The ceiling law of this run, from its first rank's series, or from those of these keys."""
    run = get_run(session, run_id)
    one = _series(session, run_id, entropy, ENTROPY, "entropy", "run.observe.policy(logits, …)")
    other = _series(session, run_id, reward, REWARDS, "reward", "run.observe.policy(…, rewards=r)")
    first, second = _columns(session, run_id, one, other)
    return Found(one, other, ceiling(*paired(first, second), run.config))


def chosen(known: Sequence[tuple[str, str, int]], statistics: Sequence[str]) -> str | None:
    """Of (key, statistic, number of labels) the key of the first statistic that is there, with the fewest labels."""
    for statistic in statistics:
        of_it = [(labels, key) for key, name, labels in known if name == statistic]
        if of_it:
            return min(of_it)[1]
    return None


def paired(
    entropy: Columns, reward: Columns
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Steps, entropy and reward [n] of the steps that have both, ascending; of several readings of a step the last."""
    one, other = _once(entropy), _once(reward)
    steps, here, there = np.intersect1d(
        entropy.steps[one], reward.steps[other], assume_unique=True, return_indices=True
    )
    return steps, entropy.values[one][here].astype(np.float64), reward.values[other][there].astype(np.float64)


def _once(columns: Columns) -> NDArray[np.intp]:
    """Of each step the last reading of the highest attempt."""
    order = np.lexsort((np.arange(len(columns)), columns.attempts, columns.steps))
    steps = columns.steps[order]
    last = np.append(steps[1:] != steps[:-1], True) if len(steps) else np.empty(0, np.bool_)
    kept: NDArray[np.intp] = order[last]
    return kept


def _columns(session: Session, run_id: str, one: Series, other: Series) -> tuple[Columns, Columns]:
    found = shown(session, run_id, [one, other], POINTS)
    first, second = found[one.series_id], found[other.series_id]
    if first.means is not None and second.means is not None:
        return first.means, second.means  # both of the same stretches of steps
    if not (first.exact and second.exact):
        found = shown(session, run_id, [one, other], 0)
        first, second = found[one.series_id], found[other.series_id]
    return first.columns, second.columns


def _series(
    session: Session, run_id: str, key: str | None, statistics: Sequence[str], field: str, how: str
) -> Series:
    if key is not None:
        (series,) = find_all(session, run_id, [key])
        if series.axis is not None:
            raise Invalid(
                f"The series {key!r} is a vector; write the key of one with a number a step.", field=field
            )
        return series
    known = {row.key: row for row in list_series(session, run_id) if row.axis is None}
    best = chosen([(row.key, row.statistic, len(row.labels)) for row in known.values()], statistics)
    if best is None:
        raise UnknownSeries(
            f"This run has no {field} ({' or '.join(statistics)}); record it with {how}, or name a series with ?{field}=KEY."
        )
    return known[best]
