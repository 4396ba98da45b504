"""Runs as a list shows them: a row each, or a pandas frame with everything that is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .columns import needs
from .run import RunView
from .tables import as_html, as_text

if TYPE_CHECKING:
    import pandas

SHOWN = ("project", "name", "state", "verdict", "last_step", "points", "id")


class RunList(list[RunView]):
    """Runs, the latest first."""

    def to_pandas(self) -> pandas.DataFrame:
        """One row per run with everything the list says about it."""
        frame: pandas.DataFrame = needs("pandas", "to_pandas()").DataFrame([run.fields for run in self])
        return frame

    def __repr__(self) -> str:
        return as_text(SHOWN, self._rows(), "no runs")

    def _repr_html_(self) -> str:
        return as_html(SHOWN, self._rows(), "no runs")

    def _rows(self) -> list[list[Any]]:
        return [[run.fields.get(name) for name in SHOWN] for run in self]
