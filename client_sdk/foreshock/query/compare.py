"""One series of several runs -> one figure, as the page's comparison draws it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from .columns import needs
from .connection import Connection
from .figures import with_arrays

if TYPE_CHECKING:
    import plotly.graph_objects

Align = Literal["step", "time", "alert"]
Group = Literal["none", "seeds"]
Theme = Literal["light", "dark", "none"]


def compared(
    connection: Connection,
    runs: Iterable[str],
    key: str,
    *,
    align: Align,
    rule: str | None,
    group: Group,
    healthy: Iterable[str],
    columns: int,
    theme: Theme | None,
) -> plotly.graph_objects.Figure:
    """See `Client.compare`; runs by their ids."""
    graph_objects = needs("plotly.graph_objects", "compare()")
    query = [("run", run) for run in runs]
    query += [("key", key), ("align", align), ("group", group), ("columns", str(columns))]
    query += [("healthy", run) for run in healthy]
    query += [(name, value) for name, value in (("rule", rule), ("theme", theme)) if value]
    answer = connection.json("/compare/figure", query)
    drawn: plotly.graph_objects.Figure = graph_objects.Figure(with_arrays(answer))
    return drawn
