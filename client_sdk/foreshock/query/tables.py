"""Rows -> what a notebook shows of them: aligned text, an HTML table, a pandas frame with everything."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .columns import needs

if TYPE_CHECKING:
    import pandas


class Table(list[dict[str, Any]]):
    """Rows with the same fields, which a notebook shows as a table."""

    def __init__(self, rows: Iterable[dict[str, Any]], show: Sequence[str], empty: str) -> None:
        super().__init__(rows)
        self._show, self._empty = show, empty

    def to_pandas(self) -> pandas.DataFrame:
        """All fields, one row each."""
        frame: pandas.DataFrame = needs("pandas", "to_pandas()").DataFrame(list(self))
        return frame

    def __repr__(self) -> str:
        return as_text(self._show, [[row.get(name) for name in self._show] for row in self], self._empty)

    def _repr_html_(self) -> str:
        return as_html(self._show, [[row.get(name) for name in self._show] for row in self], self._empty)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def as_text(names: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> str:
    """Aligned columns under their names."""
    if not rows:
        return f"({empty})"
    cells = [list(names), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def as_html(names: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> str:
    """A table whose every cell is escaped."""
    if not rows:
        return f"<em>{html.escape(empty)}</em>"
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(value))}</td>" for value in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
