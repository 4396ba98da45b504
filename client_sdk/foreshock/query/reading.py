"""A name, and what a run knows of its series -> columns, in as few requests as addresses allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from .columns import ARROW, Column, from_arrow, from_json, needs, part_of
from .connection import Connection

Known = Mapping[str, Any]  # a series as the server lists it

LONGEST_QUERY = 6000  # characters of keys in one request; servers and proxies refuse lines much longer


def meant(known: Sequence[Known], name: str) -> list[Known]:
    """The series with this key; else all of this statistic."""
    return [one for one in known if one["key"] == name] or [one for one in known if one["statistic"] == name]


def read(
    connection: Connection,
    path: str,
    chosen: Sequence[Known],
    asked: Sequence[tuple[str, Any]],
    entries: Sequence[str] = (),
) -> list[Column]:
    """The readings of these series, in their order; `asked` is the rest of the query, `path` where the data of their run is."""
    columns: dict[str, Column] = {}
    for some in _of_one_size(chosen):
        for batch in _batches(some):
            columns |= {one.key: one for one in _ask(connection, path, batch, asked, entries)}
    return [columns[one["key"]] for one in chosen]


def has_arrow() -> bool:
    """Arrow is read where pyarrow is there, JSON elsewhere: the same readings, bit by bit."""
    try:
        needs("pyarrow.ipc", "reading Arrow")
    except ImportError:
        return False
    return True


def _ask(
    connection: Connection,
    path: str,
    batch: Sequence[Known],
    asked: Sequence[tuple[str, Any]],
    entries: Sequence[str],
) -> list[Column]:
    query: list[tuple[str, Any]] = [*(("key", one["key"]) for one in batch), *asked]
    axes = {one["key"]: one.get("axis") for one in batch}
    if entries and all(axes.values()):
        query += [("entry", one) for one in entries]
        axes = {key: part_of(axis, entries) for key, axis in axes.items() if axis}
    places = {one["key"]: one["place"] for one in batch}
    if not has_arrow():
        return from_json(connection.get(path, query), places)
    body = connection.get(path, query, accept=ARROW)
    return from_arrow(body, places, {one["key"]: one["unit"] for one in batch}, axes)


def _batches(chosen: Sequence[Known]) -> Iterator[list[Known]]:
    batch: list[Known] = []
    length = 0
    for one in chosen:
        size = len(quote(one["key"])) + 5
        if batch and length + size > LONGEST_QUERY:
            yield batch
            batch, length = [], 0
        batch.append(one)
        length += size
    if batch:
        yield batch


def _of_one_size(chosen: Sequence[Known]) -> list[list[Known]]:
    """Numbers together, and vectors of one size: what one answer in Arrow can hold."""
    groups: dict[int | None, list[Known]] = {}
    for one in chosen:
        axis = one.get("axis")
        groups.setdefault(None if axis is None else axis["size"], []).append(one)
    return list(groups.values())
