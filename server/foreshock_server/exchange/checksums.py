"""Rows -> how many there are and a sum over their content: the same from SQLite and from PostgreSQL, in whatever order they come."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_MODULUS = 1 << 256


@dataclass(frozen=True)
class Sum:
    """Of some rows; equal when the rows are."""

    rows: int
    content: int  # of sha256 over each row: every row has its own key, so the order alone is lost


def checksum(rows: Iterable[Any]) -> Sum:
    """Of SQLAlchemy rows, with Python's values in them."""
    count = content = 0
    for row in rows:
        digest = hashlib.sha256()
        for name, value in sorted(row._asdict().items()):
            said = canonical(value)
            digest.update(f"{name}:{len(said)}:".encode())
            digest.update(said)
        count += 1
        content = (content + int.from_bytes(digest.digest(), "big")) % _MODULUS
    return Sum(count, content)


def canonical(value: Any) -> bytes:
    """The value as bytes that neither database changes. SQLite keeps no sign of a zero, and says 1 for true."""
    if value is None:
        return b"-"
    if isinstance(value, bytes | memoryview):
        return b"b" + bytes(value)
    if isinstance(value, bool | int):
        return b"i%d" % int(value)
    if isinstance(value, float):
        return b"f" + struct.pack("<d", value + 0.0)
    if isinstance(value, str):
        return b"s" + value.encode("utf-8", "surrogatepass")
    return b"j" + json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()
