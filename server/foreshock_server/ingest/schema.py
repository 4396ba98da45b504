"""A plain object -> an IncomingBlock that keeps the wire contract; else MalformedBlock with the field and what to write."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foreshock_server.ingest.checks import (
    amount,
    bad,
    integer,
    kind,
    listed,
    mapping,
    need,
    reading,
    shown,
    small,
    text,
    writer_name,
)
from foreshock_server.store.rows import DTYPES, RowGroup
from foreshock_server.store.series import NewFrame, NewSeries

WAYS = ("sum", "mean", "max", "min", "norm")  # how the values of several ranks become one
LONGEST_KEY = 1000
LONGEST_LABEL = 200
MOST_SERIES_IN_FRAME = 4096
MOST_GROUPS = 20_000
_MOST = 2**53  # what every JSON reader can hold exactly


@dataclass(frozen=True)
class IncomingRows:
    """A row group whose frame is not looked up yet, so that the shape of its values is still open."""

    field: str
    frame: int
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: bytes | list[Any]
    absent: bytes | list[Any] | None

    def group(self, series: int, dtype: str) -> RowGroup:
        """The row group, now that its frame is known to have this many series of this dtype."""
        size = len(self.steps) * series
        shape = (len(self.steps), series)
        if isinstance(self.values, bytes):
            want = size * DTYPES[dtype].itemsize
            if len(self.values) != want:
                raise bad(
                    f"{self.field}.values",
                    f"has {len(self.values)} bytes; {len(self.steps)} steps of the {series} {dtype} series "
                    f"of frame {self.frame} are {want} bytes",
                )
            values = np.frombuffer(self.values, DTYPES[dtype])
        else:
            if len(self.values) != size:
                raise bad(
                    f"{self.field}.values",
                    f"has {len(self.values)} numbers; {len(self.steps)} steps of the {series} series "
                    f"of frame {self.frame} are {size}",
                )
            numbers = [reading(one, f"{self.field}.values[{i}]") for i, one in enumerate(self.values)]
            with np.errstate(over="ignore"):  # beyond float32 is Infinity there, as it would be on the device
                values = np.array(numbers, np.float64).astype(DTYPES[dtype])
        absent = self._absent(size)
        return RowGroup(
            self.frame,
            self.steps,
            self.times,
            values.reshape(shape),
            None if absent is None else absent.reshape(shape),
        )

    def _absent(self, size: int) -> NDArray[np.bool_] | None:
        if self.absent is None:
            return None
        if isinstance(self.absent, bytes):
            want = (size + 7) // 8
            if len(self.absent) != want:
                raise bad(
                    f"{self.field}.absent",
                    f"has {len(self.absent)} bytes; a bitmap over {size} values has {want}",
                )
            bits = np.unpackbits(np.frombuffer(self.absent, np.uint8), count=size, bitorder="little")
            absent = bits.view(np.bool_)
        else:
            absent = np.zeros(size, np.bool_)
            for i, one in enumerate(self.absent):
                absent[integer(one, f"{self.field}.absent[{i}]", 0, size - 1)] = True
        return absent if absent.any() else None


@dataclass(frozen=True)
class IncomingBlock:
    """A block as the contract describes it, validated as far as that goes without its frames."""

    attempt: int
    writer: str
    seq: int
    frames: list[NewFrame]
    rows: list[IncomingRows]
    dropped: int
    lost: dict[str, int]
    cost: dict[str, float]


def block(data: object, *, binary: bool) -> IncomingBlock:
    """The block in a parsed body; `binary` when arrays are bytes (msgpack) rather than lists (JSON)."""
    body = mapping(data, "")
    version = integer(need(body, "v", ""), "v", 0, _MOST)
    if version != 1:
        raise bad("v", f"is {version}; this server understands version 1 of the contract")
    return IncomingBlock(
        attempt=integer(need(body, "attempt", ""), "attempt", 1, 2**31),
        writer=writer_name(need(body, "writer", ""), "writer"),
        seq=integer(need(body, "seq", ""), "seq", 1, _MOST),
        frames=_frames(body.get("frames", [])),
        rows=[
            _rows(one, f"rows[{i}]", binary)
            for i, one in enumerate(listed(body.get("rows", []), "rows", MOST_GROUPS))
        ],
        dropped=integer(body.get("dropped", 0), "dropped", 0, _MOST),
        lost={
            text(reason, "lost", LONGEST_LABEL): integer(count, f"lost.{reason}", 0, _MOST)
            for reason, count in small(body.get("lost"), "lost").items()
        },
        cost={
            text(name, "cost", LONGEST_LABEL): amount(spent, f"cost.{name}")
            for name, spent in small(body.get("cost"), "cost").items()
        },
    )


def _frames(data: object) -> list[NewFrame]:
    frames = []
    for i, one in enumerate(listed(data, "frames", MOST_SERIES_IN_FRAME)):
        field = f"frames[{i}]"
        body = mapping(one, field)
        number = integer(need(body, "frame", field), f"{field}.frame", 1, 2**31)
        entries = listed(need(body, "series", field), f"{field}.series", MOST_SERIES_IN_FRAME)
        series = [_series(entry, f"{field}.series[{j}]") for j, entry in enumerate(entries)]
        if not series:
            raise bad(f"{field}.series", "is empty; a frame has at least one series")
        dtypes = sorted({entry.dtype for entry in series})
        if len(dtypes) > 1:
            raise bad(f"{field}.series", "mixes f32 and f64; put them into two frames")
        if len({entry.key for entry in series}) < len(series):
            raise bad(f"{field}.series", "names a key twice; each series of a frame needs its own")
        frames.append(NewFrame(number, dtypes[0], series))
    return frames


def _series(data: object, field: str) -> NewSeries:
    body = mapping(data, field)
    labels = {
        text(name, f"{field}.labels", LONGEST_LABEL): text(value, f"{field}.labels.{name}", LONGEST_LABEL)
        for name, value in small(body.get("labels"), f"{field}.labels").items()
    }
    dtype = need(body, "dtype", field)
    if dtype not in DTYPES:
        raise bad(f"{field}.dtype", f'is {shown(dtype)}; write "f32" or "f64"')
    key = text(need(body, "key", field), f"{field}.key", LONGEST_KEY)
    if not key:
        raise bad(f"{field}.key", "is empty; write statistic or statistic{label=value}")
    statistic = text(need(body, "statistic", field), f"{field}.statistic", LONGEST_LABEL)
    if not statistic:
        raise bad(f"{field}.statistic", "is empty; write the name of what is measured")
    place = text(body.get("place", ""), f"{field}.place", LONGEST_LABEL)
    if place != labels.get("place", ""):
        raise bad(
            f"{field}.place", f"is {place!r} and the label place {labels.get('place')!r}; write the same"
        )
    if key != _key(statistic, labels):
        raise bad(f"{field}.key", f"is {key!r}; its statistic and labels make it {_key(statistic, labels)!r}")
    return NewSeries(
        key=key,
        statistic=statistic,
        family=text(need(body, "family", field), f"{field}.family", 100),
        place=place,
        labels=labels,
        unit=text(body.get("unit", ""), f"{field}.unit", 40),
        dtype=dtype,
        about=_about(body.get("about"), f"{field}.about"),
    )


def _key(statistic: str, labels: Mapping[str, str]) -> str:
    if not labels:
        return statistic
    return f"{statistic}{{{','.join(f'{name}={value}' for name, value in sorted(labels.items()))}}}"


def _about(data: object, field: str) -> dict[str, Any]:
    body = {} if data is None else mapping(data, field)
    about: dict[str, Any] = {}
    for name in ("title", "source"):
        value = body.get(name)
        about[name] = None if value is None else text(value, f"{field}.{name}", LONGEST_KEY)
    for name in ("low", "high"):
        value = body.get(name)
        bound = None if value is None else reading(value, f"{field}.{name}")
        about[name] = bound if bound is not None and math.isfinite(bound) else None  # no bound at all
    for name in ("merge", "weight"):
        if body.get(name) is not None:
            about[name] = text(body[name], f"{field}.{name}", LONGEST_LABEL)
    if about.get("merge", WAYS[0]) not in WAYS:
        raise bad(f"{field}.merge", f"is {about['merge']!r}; write one of {', '.join(WAYS)}, or leave it out")
    return about


def _rows(data: object, field: str, binary: bool) -> IncomingRows:
    body = mapping(data, field)
    steps = _array(need(body, "steps", field), f"{field}.steps", "<i8", binary)
    times = _array(need(body, "times", field), f"{field}.times", "<f8", binary)
    if len(steps) == 0:
        raise bad(f"{field}.steps", "is empty; leave the row group out")
    if len(times) != len(steps):
        raise bad(f"{field}.times", f"has {len(times)} entries and steps has {len(steps)}; they need as many")
    if np.any(steps[1:] < steps[:-1]):
        raise bad(f"{field}.steps", "goes back; begin a new row group where the step does")
    if np.any((steps > _MOST) | (steps < -_MOST)):
        raise bad(f"{field}.steps", "passes 2**53; count steps from 0")
    if not np.isfinite(times).all():
        raise bad(f"{field}.times", "holds a value that is not finite; write seconds since 1970, UTC")
    values, absent = need(body, "values", field), body.get("absent")
    wanted = bytes if binary else list
    if not isinstance(values, wanted):
        raise bad(
            f"{field}.values", f"is {kind(values)}; write {'little-endian bytes' if binary else 'a list'}"
        )
    if absent is not None and not isinstance(absent, wanted):
        raise bad(
            f"{field}.absent",
            f"is {kind(absent)}; write {'a bitmap as bytes' if binary else 'a list of indices'}, or leave it out",
        )
    frame = integer(need(body, "frame", field), f"{field}.frame", 1, 2**31)
    return IncomingRows(field, frame, steps, times, values, absent)


def _array(data: object, field: str, dtype: str, binary: bool) -> NDArray[Any]:
    if binary:
        if not isinstance(data, bytes):
            raise bad(field, f"is {kind(data)}; write little-endian bytes, eight per entry")
        if len(data) % 8:
            raise bad(field, f"has {len(data)} bytes; entries have eight each")
        return np.frombuffer(data, dtype)
    if not isinstance(data, list):
        raise bad(field, f"is {kind(data)}; write a list of numbers")
    if dtype == "<i8":
        return np.array([integer(one, f"{field}[{i}]", -_MOST, _MOST) for i, one in enumerate(data)], dtype)
    return np.array([reading(one, f"{field}[{i}]") for i, one in enumerate(data)], dtype)
