"""Series and frames of a run: named once, numbered 1, 2, … within the run."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import func, insert, or_, select
from sqlalchemy.orm import Session

from foreshock_server.errors import MalformedBlock, UnknownSeries
from foreshock_server.models import Frame, Series
from foreshock_server.store.layout import size_of
from foreshock_server.store.once import insert_once

MOST_SERIES = 100_000  # per run


@dataclass(frozen=True)
class NewSeries:
    """A series as the wire contract describes it, validated."""

    key: str
    statistic: str
    family: str
    place: str
    labels: Mapping[str, str]
    unit: str
    dtype: str
    about: Mapping[str, Any] = field(default_factory=dict)
    axis: Mapping[str, Any] | None = None  # of a vector: name, size, perhaps ticks of its entries


@dataclass(frozen=True)
class NewFrame:
    """A frame as the wire contract describes it, validated."""

    frame: int
    dtype: str
    series: Sequence[NewSeries]


def key_hash(key: str) -> str:
    """What stands for a key in an index: keys may be longer than an index allows."""
    return hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest()


def list_series(session: Session, run_id: str, statistics: Collection[str] | None = None) -> list[Series]:
    """In the order in which they appeared; of these statistics alone, a name that ends in "/" being all that lies beneath it."""
    query = select(Series).where(Series.run_id == run_id).order_by(Series.series_id)
    if statistics is not None:
        beneath = [
            Series.statistic.startswith(one, autoescape=True) for one in statistics if one.endswith("/")
        ]
        query = query.where(or_(Series.statistic.in_(statistics), *beneath))
    return list(session.scalars(query))


def find_series(session: Session, run_id: str, key: str) -> Series:
    """The series with this key, or UnknownSeries."""
    return find_all(session, run_id, [key])[0]


def find_all(session: Session, run_id: str, keys: Sequence[str]) -> list[Series]:
    """The series with these keys, in their order, or UnknownSeries for the first that is missing."""
    found: dict[str, Series] = {}
    hashes = [key_hash(key) for key in keys]
    for some in _portions(hashes):
        query = select(Series).where(Series.run_id == run_id, Series.key_hash.in_(some))
        found.update((row.key_hash, row) for row in session.scalars(query))
    for key, digest in zip(keys, hashes, strict=True):
        if digest not in found:
            raise UnknownSeries(
                f"This run has no series {key!r}; GET /api/v1/runs/{run_id}/series lists them."
            )
    return [found[digest] for digest in hashes]


def register_frames(
    session: Session, run_id: str, attempt: int, writer: str, frames: Iterable[NewFrame]
) -> None:
    """Store the frames and name their new series; a frame sent again changes nothing. Call it under `lock_run`."""
    for frame in frames:
        known = session.get(Frame, (run_id, attempt, writer, frame.frame))
        ids = _register(session, run_id, frame.series)
        widths = [size_of(one.axis) for one in frame.series]
        if known is not None:
            if (known.dtype, known.series_ids) != (frame.dtype, ids):
                raise MalformedBlock(
                    f"Frame {frame.frame} of this writer has other series already; give a new set a new number.",
                    field="frames",
                )
            continue
        insert_once(
            session,
            Frame,
            {
                "run_id": run_id,
                "attempt": attempt,
                "writer": writer,
                "frame": frame.frame,
                "dtype": frame.dtype,
                "series_ids": ids,
                "widths": widths if any(widths) else None,
            },
        )


def frames(
    session: Session, run_id: str, attempt: int, writer: str, numbers: Collection[int] | None = None
) -> dict[int, Frame]:
    """The frames of one writer, by number: those asked for, or all."""
    query = select(Frame).where(Frame.run_id == run_id, Frame.attempt == attempt, Frame.writer == writer)
    if numbers is not None and len(numbers) <= 500:  # SQLite bounds the parameters of one statement
        query = query.where(Frame.frame.in_(numbers))
    return {row.frame: row for row in session.scalars(query)}


def _register(session: Session, run_id: str, series: Sequence[NewSeries]) -> list[int]:
    """Their ids, new ones numbered. One of another size than its key has in this run goes under a key that says its size."""
    known = _known(session, run_id, series)
    sizes = [known[one.key][1] if one.key in known else size_of(one.axis) for one in series]
    if sizes != [size_of(one.axis) for one in series]:
        series = [
            one if size == size_of(one.axis) else _resized(one)
            for one, size in zip(series, sizes, strict=True)
        ]
        known = _known(session, run_id, series)
    last = session.scalar(select(func.max(Series.series_id)).where(Series.run_id == run_id)) or 0
    fresh = []
    for one in series:
        if one.key in known:
            continue
        last += 1
        known[one.key] = last, size_of(one.axis)
        fresh.append(
            {
                "run_id": run_id,
                "series_id": last,
                "key": one.key,
                "key_hash": key_hash(one.key),
                "statistic": one.statistic,
                "family": one.family,
                "place": one.place,
                "labels": dict(one.labels),
                "unit": one.unit,
                "dtype": one.dtype,
                "about": dict(one.about),
                "axis": None if one.axis is None else dict(one.axis),
                "points": 0,
                "nonfinite": 0,
            }
        )
    ids = [known[one.key][0] for one in series]
    if len(set(ids)) < len(ids) or any(known[one.key][1] != size_of(one.axis) for one in series):
        raise MalformedBlock(
            "The label `entries` tells apart what has one name and several sizes; name that series otherwise.",
            field="frames",
        )
    if last > MOST_SERIES:
        raise MalformedBlock(
            f"A run may have {MOST_SERIES:,} series at most; watch fewer modules or log fewer names.",
            field="frames",
        )
    if fresh:  # past the ORM, which takes two thirds longer (500 series): every other run waits meanwhile
        session.connection().execute(insert(Series), fresh)
    return ids


def _known(session: Session, run_id: str, series: Sequence[NewSeries]) -> dict[str, tuple[int, int | None]]:
    """Of those that the run has: id and size by key."""
    keys = {key_hash(one.key): one.key for one in series}
    known = {}
    for some in _portions(list(keys)):
        query = select(Series.key_hash, Series.series_id, Series.axis).where(
            Series.run_id == run_id, Series.key_hash.in_(some)
        )
        for digest, number, axis in session.execute(query):
            known[keys[digest]] = number, size_of(axis)
    return known


def _resized(one: NewSeries) -> NewSeries:
    """The same with its size among its labels."""
    size = size_of(one.axis)
    labels = {**one.labels, "entries": "number" if size is None else str(size)}
    return replace(one, key=key_of(one.statistic, labels), labels=labels)


def key_of(statistic: str, labels: Mapping[str, str]) -> str:
    """`statistic` or `statistic{label=value,…}`, the labels in alphabetical order."""
    if not labels:
        return statistic
    return f"{statistic}{{{','.join(f'{name}={value}' for name, value in sorted(labels.items()))}}}"


def _portions(hashes: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(hashes), 500):  # SQLite bounds the parameters of one statement
        yield hashes[start : start + 500]
