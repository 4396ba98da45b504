"""A run that others are compared with -> what it read of a series, by step."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from foreshock_server.errors import Invalid, UnknownSeries
from foreshock_server.models import Run
from foreshock_server.rules.reduction import Reduction, reduced
from foreshock_server.store.columns import read
from foreshock_server.store.naming import find_run
from foreshock_server.store.series import find_series

log = logging.getLogger(__name__)


class Curve(NamedTuple):
    """Readings by step, ascending; of one step the last counts."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, readings: Mapping[int, float]) -> Curve:
        """By step."""
        steps = sorted(readings)
        return cls(np.array(steps, np.int64), np.array([readings[step] for step in steps], np.float64))

    def at(self, step: int, max_age_steps: int) -> float | None:
        """The last by this step, unless it is older than that."""
        place = int(np.searchsorted(self.steps, step, "right")) - 1
        if place < 0 or step - int(self.steps[place]) > max_age_steps:
            return None
        return float(self.values[place])


NOTHING = Curve.of({})


def curve_of(session: Session, run_id: str, wanted: str, key: str, how: Reduction) -> Curve:
    """What the wanted run, of the same project, read of the series with this key; nothing, and a word in the log, where there is none."""
    run = session.get(Run, run_id)
    try:
        found = find_run(session, wanted, None if run is None else run.project)
        series = find_series(session, found.id, key)
    except (Invalid, UnknownSeries) as missing:
        log.warning(
            "Run %s is compared with %r, and its series %s cannot be: %s", run_id, wanted, key, missing
        )
        return NOTHING
    columns = read(session, found.id, [series.series_id], superseded=False)[series.series_id]
    values = columns.values if columns.values.ndim == 1 else reduced(how, columns.values, None).values
    order = np.argsort(columns.steps, kind="stable")
    return Curve(columns.steps[order], values[order])
