"""A problem as bytes for another process, and back. Needs numpy alone."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from .collapse import Collapse
from .gram import Gram
from .krylov import Krylov
from .lidar import Lidar
from .problem import Problem
from .similarity import Similarity
from .weights import Weights

HEADER = struct.Struct("=16s8d")  # name, fields

_KINDS: Mapping[str, type[Any]] = {
    kind.NAME: kind for kind in (Gram, Krylov, Similarity, Lidar, Collapse, Weights)
}
_READ: Mapping[str, Callable[[float], Any]] = {"int": int, "bool": bool, "float": float}


def pack(problem: Problem) -> bytes:
    """Its name and fields."""
    values = [float(getattr(problem, field.name)) for field in fields(problem)]  # type: ignore[arg-type]  # a dataclass
    return HEADER.pack(problem.NAME.encode(), *values, *[0.0] * (8 - len(values)))


def unpack(header: bytes) -> Problem:
    """The problem again."""
    name, *values = HEADER.unpack(header)
    kind = _KINDS[name.rstrip(b"\0").decode()]
    read = [_READ[str(field.type)](value) for field, value in zip(fields(kind), values, strict=False)]
    problem: Problem = kind(*read)
    return problem
