"""Row groups <-> bytes: how readings rest in a Block, as they were validated. Arrays are views, never copies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

DTYPES: dict[str, np.dtype[Any]] = {"f32": np.dtype("<f4"), "f64": np.dtype("<f8")}


@dataclass(frozen=True)
class RowGroup:
    """Consecutive steps of one frame: `values[i, j]` is series j of the frame at `steps[i]`."""

    frame: int
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.floating[Any]]  # float32 or float64, n × k
    absent: NDArray[np.bool_] | None  # n × k; True where there is no reading; None where all are there

    @property
    def present(self) -> int:
        """How many readings it holds."""
        gone = 0 if self.absent is None else int(self.absent.sum())
        return int(self.values.size) - gone


def encode_rows(groups: Iterable[RowGroup]) -> bytes:
    """What is stored in `Block.rows`."""
    packed: bytes = msgpack.packb(
        [
            {
                "frame": group.frame,
                "dtype": "f32" if group.values.dtype.itemsize == 4 else "f64",
                "steps": group.steps.astype("<i8", copy=False).tobytes(),
                "times": group.times.astype("<f8", copy=False).tobytes(),
                "values": group.values.tobytes(),
                "absent": None
                if group.absent is None
                else np.packbits(group.absent.reshape(-1), bitorder="little").tobytes(),
            }
            for group in groups
        ]
    )
    return packed


def decode_rows(data: bytes) -> list[RowGroup]:
    """The row groups of one stored block."""
    return [_group(one) for one in msgpack.unpackb(data)]


def _group(one: dict[str, Any]) -> RowGroup:
    steps = np.frombuffer(one["steps"], dtype="<i8")
    values = np.frombuffer(one["values"], dtype=DTYPES[one["dtype"]]).reshape(len(steps), -1)
    absent = None
    if one["absent"] is not None:
        bits = np.unpackbits(np.frombuffer(one["absent"], np.uint8), count=values.size, bitorder="little")
        absent = bits.view(np.bool_).reshape(values.shape)
    return RowGroup(one["frame"], steps, np.frombuffer(one["times"], dtype="<f8"), values, absent)
