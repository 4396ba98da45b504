"""What is measured, where and how often: a table to print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Watched:
    """One line: a place, what stands there, what is measured of it, every how many steps."""

    place: str
    module: str
    measured: str
    every: int


@dataclass(frozen=True)
class WatchTable:
    """What `watch` has chosen; print it to see whether it chose well."""

    rows: tuple[Watched, ...]

    def __str__(self) -> str:
        head = ("place", "module", "measured", "every")
        lines = [head, *((row.place, row.module, row.measured, f"{row.every} steps") for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
