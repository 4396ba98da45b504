"""A plain object -> an IncomingBlock that keeps the wire contract; else MalformedBlock with the field and what to write."""

from __future__ import annotations

import math
import re
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
from foreshock_server.store.layout import size_of
from foreshock_server.store.rows import DTYPES, RowGroup
from foreshock_server.store.series import NewFrame, NewSeries, key_of

VERSIONS = (1,)  # of the contract, that this server understands
MOST_BLOCKS = 64  # in one body
WAYS = ("sum", "mean", "max", "min", "norm")  # how the values of several ranks become one
LONGEST_KEY = 1000
LONGEST_LABEL = 200
MOST_SERIES_IN_FRAME = 4096
MOST_COLUMNS_IN_FRAME = 4096  # a vector has one per entry
LONGEST_TICK = 40
MOST_GROUPS = 20_000
FURTHEST = 60_000_000_000  # seconds from 1970, either way: what a calendar of four digits can show
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_MOST = 2**53  # what every JSON reader can hold exactly


@dataclass(frozen=True)
class IncomingRows:
    """A row group whose frame is not looked up yet, so that the shape of its values is still open."""

    field: str
    frame: int
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: bytes | NDArray[np.float64]  # as msgpack or JSON had them
    absent: bytes | list[Any] | None

    def group(self, columns: int, dtype: str) -> RowGroup:
        """The row group, now that its frame is known to have this many columns of this dtype."""
        size = len(self.steps) * columns
        shape = (len(self.steps), columns)
        if isinstance(self.values, bytes):
            want = size * DTYPES[dtype].itemsize
            if len(self.values) != want:
                raise bad(
                    f"{self.field}.values",
                    f"has {len(self.values)} bytes; {len(self.steps)} steps of the {columns} {dtype} values "
                    f"of frame {self.frame} are {want} bytes",
                )
            values = np.frombuffer(self.values, DTYPES[dtype])
        else:
            if len(self.values) != size:
                raise bad(
                    f"{self.field}.values",
                    f"has {len(self.values)} numbers; {len(self.steps)} steps of the {columns} values "
                    f"of frame {self.frame} are {size}",
                )
            with np.errstate(over="ignore"):  # beyond float32 is Infinity there, as it would be on the device
                values = self.values.astype(DTYPES[dtype])
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


def blocks(data: object, *, binary: bool) -> list[IncomingBlock]:
    """The blocks in a parsed body, which is one block or a list of some of one writer."""
    if not isinstance(data, list):
        return [block(data, binary=binary)]
    if not data:
        raise bad("", "is an empty list; send at least one block")
    found = [block(one, binary=binary) for one in listed(data, "", MOST_BLOCKS)]
    if len({(one.attempt, one.writer) for one in found}) > 1:
        raise bad(
            "writer", "differs between the blocks of one body; send those of one writer and attempt together"
        )
    return found


def block(data: object, *, binary: bool) -> IncomingBlock:
    """The block in a parsed body; `binary` when arrays are bytes (msgpack) rather than lists (JSON)."""
    body = mapping(data, "")
    version = integer(need(body, "v", ""), "v", 0, _MOST)
    if version not in VERSIONS:
        raise bad(
            "v",
            f"is {version}; this server understands version {', '.join(map(str, VERSIONS))} of the contract",
        )
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
        columns = sum(size_of(entry.axis) or 1 for entry in series)
        if columns > MOST_COLUMNS_IN_FRAME:
            raise bad(
                f"{field}.series",
                f"has {columns:,} values a step, the entries of its vectors counted; "
                f"{MOST_COLUMNS_IN_FRAME:,} is the most, put some into another frame",
            )
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
    if not isinstance(dtype, str) or dtype not in DTYPES:
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
    if key != key_of(statistic, labels):
        raise bad(
            f"{field}.key", f"is {key!r}; its statistic and labels make it {key_of(statistic, labels)!r}"
        )
    return NewSeries(
        key=key,
        statistic=statistic,
        family=text(need(body, "family", field), f"{field}.family", 100),
        place=place,
        labels=labels,
        unit=text(body.get("unit", ""), f"{field}.unit", 40),
        dtype=dtype,
        about=_about(body.get("about"), f"{field}.about"),
        axis=_axis(body.get("axis"), f"{field}.axis"),
    )


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
    if body.get("layout") is not None:
        about["layout"] = _layout(body["layout"], f"{field}.layout")
    return about


def _layout(data: object, field: str) -> dict[str, Any]:
    """Which part of what the ranks hold together one of them holds, and how the parts become one."""
    body = mapping(data, field)
    layout: dict[str, Any] = {"part": integer(need(body, "part", field), f"{field}.part", 0, 2**31)}
    for name in ("merge", "columns"):
        if name == "merge" or body.get(name) is not None:
            way = text(need(body, name, field), f"{field}.{name}", LONGEST_LABEL)
            if way not in WAYS:
                raise bad(f"{field}.{name}", f"is {way!r}; write one of {', '.join(WAYS)}")
            layout[name] = way
    if body.get("weight") is not None:
        layout["weight"] = text(body["weight"], f"{field}.weight", LONGEST_LABEL)
    if "columns" in layout:
        layout["shards"] = integer(need(body, "shards", field), f"{field}.shards", 1, 2**31)
        layout["shard"] = integer(need(body, "shard", field), f"{field}.shard", 0, layout["shards"] - 1)
        layout["width"] = integer(need(body, "width", field), f"{field}.width", 0, _MOST)
    return layout


def _axis(data: object, field: str) -> dict[str, Any] | None:
    """What the entries of a vector are; None for a number."""
    if data is None:
        return None
    body = mapping(data, field)
    name = text(need(body, "name", field), f"{field}.name", LONGEST_TICK)
    if not name:
        raise bad(f"{field}.name", "is empty; write what an entry is, such as head")
    size = integer(need(body, "size", field), f"{field}.size", 1, MOST_COLUMNS_IN_FRAME)
    axis: dict[str, Any] = {"name": name, "size": size}
    if body.get("ticks") is not None:
        ticks = listed(body["ticks"], f"{field}.ticks", MOST_COLUMNS_IN_FRAME)
        if len(ticks) != size:
            raise bad(
                f"{field}.ticks", f"has {len(ticks)} entries and size is {size}; write one for each entry"
            )
        axis["ticks"] = [_tick(one, f"{field}.ticks[{i}]") for i, one in enumerate(ticks)]
    return axis


def _tick(data: object, field: str) -> str | float:
    if isinstance(data, str):
        return text(data, field, LONGEST_TICK)
    number = reading(data, field)
    if not math.isfinite(number):
        raise bad(field, "is not finite; write a finite number or a text")
    return number


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
    if not np.isfinite(times).all():
        raise bad(f"{field}.times", "holds a value that is not finite; write seconds since 1970, UTC")
    if np.any(np.abs(times) > FURTHEST):
        raise bad(
            f"{field}.times", "holds a time that is no date (milliseconds?); write seconds since 1970, UTC"
        )
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
    if not binary:  # at once: a list of numbers takes four times the room
        values = np.array([reading(one, f"{field}.values[{i}]") for i, one in enumerate(values)], np.float64)
    return IncomingRows(field, frame, steps, times, values, absent)


def _step(data: object, field: str) -> int:
    """An integer of 64 bits; as a string where the writer's numbers hold no more than 53 of them."""
    if isinstance(data, str) and _WHOLE.fullmatch(data):
        data = int(data)
    return integer(data, field, -(2**63), 2**63 - 1)


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
        return np.array([_step(one, f"{field}[{i}]") for i, one in enumerate(data)], dtype)
    return np.array([reading(one, f"{field}[{i}]") for i, one in enumerate(data)], dtype)
