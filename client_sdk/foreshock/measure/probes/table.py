"""What is measured, where, how often, and what it should cost: a table to print, to show in a notebook, or to read in a program."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

COLUMNS = 100  # characters across
ROWS = 4096  # that a record is taken to have, where nothing has run yet
_HEAD = ("place", "module", "measured", "every", "cost")
_WIDEST = (40, 20)  # of places, which then lose their beginning, and of modules, which lose their end


@dataclass(frozen=True)
class Watched:
    """One line: a place, what stands there, what is measured of it, every how many steps."""

    place: str
    module: str
    measured: str
    every: int
    family: str = ""
    kind: str = ""  # of the cadences: what `every` names
    series: int = 0  # 0: known only once it has begun
    operations: float = 0.0  # floating-point operations of one record; 0: not estimated
    values: float = 0.0  # values that one record reads
    layout: str = ""  # over ranks, as it was declared

    @property
    def each_step(self) -> float:
        """Estimated operations per training step."""
        return max(self.operations, self.values) / self.every if self.every else 0.0


@dataclass(frozen=True)
class WatchTable:
    """What `watch` has chosen. `rows` has one entry per place; printed, repeated blocks share a line."""

    rows: tuple[Watched, ...]
    parameters: int = 0  # of the model: the forward pass that costs are compared with
    off: tuple[str, ...] = ()  # families of lines that are never read unless asked for
    absent: tuple[str, ...] = ()  # families that were named and not found
    kept_out: tuple[tuple[str, str], ...] = ()  # that were named, and a place each that the patterns keep out

    @property
    def share(self) -> float:
        """Estimated arithmetic per step over that of the model's forward pass on ROWS rows, 2·parameters·rows; 0 if unknown."""
        forward = 2.0 * self.parameters * ROWS
        return sum(row.each_step for row in self.rows) / forward if forward else 0.0

    def __str__(self) -> str:
        head, cells = self._cells()
        if not cells:
            return "\n".join(("nothing to watch", *self._below()))
        widths = [max(len(line[column]) for line in (head, *cells)) for column in range(len(head))]
        widths[2] = max(len(head[2]), min(widths[2], COLUMNS - sum(widths) + widths[2] - 2 * (len(head) - 1)))
        lines = [head]
        for place, module, measured, *others in cells:
            first, *rest = textwrap.wrap(measured, widths[2]) or [""]
            lines += [
                (place, module, first, *others),
                *(("", "", more, *("" for _ in others)) for more in rest),
            ]
        below = [wrapped for sentence in self._below() for wrapped in textwrap.wrap(sentence, COLUMNS)]
        return "\n".join([*(_aligned(line, widths) for line in lines), *below])

    def _repr_html_(self) -> str:
        """For notebooks."""
        headings, rows = self._cells()
        lines = [
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>" for cells in rows
        ]
        head = "".join(f"<th>{cell}</th>" for cell in headings)
        below = "<br>".join(html.escape(sentence) for sentence in self._below())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table><p>{below}</p>"

    def _cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Headings and lines; layouts over ranks have a column where any is declared."""
        told = any(row.layout for row in self.rows)
        head = (*_HEAD, "layout") if told else _HEAD
        return head, [
            (name, module, row.measured, _every(row), self._cost(same), *([row.layout] if told else []))
            for name, module, row, same in _grouped(self.rows)
        ]

    def _cost(self, rows: Sequence[Watched]) -> str:
        each_step = sum(row.each_step for row in rows)
        return _percent(each_step / (2.0 * self.parameters * ROWS)) if each_step and self.parameters else "?"

    def _below(self) -> list[str]:
        found = []
        if self.rows:
            series = sum(row.series for row in self.rows)
            unknown = sum(1 for row in self.rows if not row.series)
            uncosted = sum(1 for row in self.rows if not row.each_step)
            said = f"{len(self.rows)} lines, {series}{'+' if unknown else ''} series."
            if self.share:
                unless = " ('?': not)" if uncosted else ""
                said += (
                    f" Cost is estimated{unless}: about {_percent(self.share)} of the arithmetic of a forward pass on"
                    f" {ROWS} rows (2·parameters·rows = {2.0 * self.parameters * ROWS:.1e}), averaged over the steps."
                    " run.cost says what it takes."
                )
            found.append(said)
        if self.off:
            found.append(
                f"Off unless asked for: {', '.join(self.off)}. families=['all'] or every={{…}} switches on."
            )
        if self.kept_out:
            named = ", ".join(f"{family} ({place})" for family, place in self.kept_out)
            found.append(
                f"Not among what include= and exclude= choose: {named}. A pattern names whole modules; ** takes"
                " everything inside one, as in include=['blocks.*.moe.**']."
            )
        if self.absent:
            found.append(
                f"Not found in this model: {', '.join(self.absent)}. What hooks cannot see is shown with run.observe."
            )
        return found


def _grouped(rows: Sequence[Watched]) -> list[tuple[str, str, Watched, list[Watched]]]:
    """Rows that differ in the numbers of their places alone, together: their common name, module, and the rows."""
    groups: dict[tuple[object, ...], list[Watched]] = {}
    for row in rows:
        pattern = tuple(None if part.isdigit() else part for part in row.place.split("."))
        groups.setdefault((pattern, row.module, row.measured, row.every, row.kind, row.layout), []).append(
            row
        )
    return [
        (
            _tail(_common([row.place for row in same]), _WIDEST[0]),
            _head(same[0].module, _WIDEST[1]),
            same[0],
            same,
        )
        for same in groups.values()
    ]


def _common(places: Sequence[str]) -> str:
    """`h.0`, `h.1`, `h.2` -> `h.0…2 (3)`."""
    if len(places) == 1:
        return places[0]
    parts = []
    for column in zip(*(place.split(".") for place in places), strict=True):
        if len(set(column)) == 1:
            parts.append(column[0])
        else:
            numbers = sorted(map(int, column))
            parts.append(f"{numbers[0]}…{numbers[-1]}")
    return f"{'.'.join(parts)} ({len(places)})"


def _every(row: Watched) -> str:
    return f"{row.every} steps" if row.every != 1 else "step"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share >= 1e-4 else "<0.01 %"


def _tail(text: str, width: int) -> str:
    return text if len(text) <= width else f"…{text[len(text) - width + 1 :]}"


def _head(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
