"""One value of a request -> the same value, checked; else MalformedBlock with its field and a sentence on what to write."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from foreshock_server.deps import NOT_PLAIN
from foreshock_server.errors import MalformedBlock

_TEXTS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_UNPRINTABLE = re.compile(f"[{NOT_PLAIN}\\ud800-\\udfff]")


def mapping(data: object, field: str) -> Mapping[str, Any]:
    """The object, whose keys are strings."""
    if not isinstance(data, dict):
        raise bad(field, f"is {kind(data)}; write an object")
    for key in data:
        if not isinstance(key, str):
            raise bad(field, f"has the key {shown(key)}; write keys as strings")
    return data


def text(data: object, field: str, longest: int) -> str:
    """The string, which both databases can hold."""
    if not isinstance(data, str):
        raise bad(field, f"is {kind(data)}; write a string")
    if len(data) > longest:
        raise bad(field, f"has {len(data)} characters; {longest} is the most")
    if _UNPRINTABLE.search(data):
        raise bad(
            field,
            "holds a control character, one that turns the direction of text, or half a surrogate pair; write printable text",
        )
    return data


def writer_name(data: object, field: str) -> str:
    """The name of a writer: one to 64 characters."""
    name = text(data, field, 64)
    if not name:
        raise bad(field, "is empty; write one name per process, such as r0-5f3c2a")
    return name


def integer(data: object, field: str, low: int, high: int) -> int:
    """The integer, within its bounds; true and false are none."""
    if not isinstance(data, int) or isinstance(data, bool):
        raise bad(field, f"is {kind(data)}; write an integer")
    if not low <= data <= high:
        raise bad(field, f"is {shown(data)}; it must lie between {low} and {high}")
    return data


def reading(data: object, field: str) -> float:
    if isinstance(data, str):
        if data not in _TEXTS:
            raise bad(field, f'is {shown(data)}; write a number, "NaN", "Infinity" or "-Infinity"')
        return _TEXTS[data]
    if not isinstance(data, (int, float)) or isinstance(data, bool):
        raise bad(field, f'is {kind(data)}; write a number, "NaN", "Infinity" or "-Infinity"')
    try:
        return float(data)
    except OverflowError:
        raise bad(field, "is too large for a float64") from None


def amount(data: object, field: str) -> float:
    number = reading(data, field)
    if not (math.isfinite(number) and number >= 0):
        raise bad(field, f"is {number}; write a finite number that is not negative")
    return number


def listed(data: object, field: str, most: int) -> list[Any]:
    if not isinstance(data, list):
        raise bad(field, f"is {kind(data)}; write a list")
    if len(data) > most:
        raise bad(field, f"has {len(data)} entries; {most} is the most, send the rest in further blocks")
    return data


def small(data: object, field: str) -> Mapping[str, Any]:
    body = {} if data is None else mapping(data, field)
    if len(body) > 64:
        raise bad(field, f"has {len(body)} entries; 64 is the most")
    return body


def need(body: Mapping[str, Any], name: str, field: str) -> Any:
    if name not in body:
        raise bad(f"{field}.{name}" if field else name, "is missing; the contract needs it")
    return body[name]


def bad(field: str, sentence: str) -> MalformedBlock:
    return MalformedBlock(f"{field or 'The block'} {sentence}.", field=field)


def kind(data: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bytes: "bytes", bool: "true or false"}
    return names.get(type(data), "null" if data is None else f"a number ({shown(data)})")


def shown(data: object) -> str:
    written = repr(data) if not isinstance(data, int) or abs(data) < 10**30 else "a very large integer"
    return written if len(written) <= 60 else written[:57] + "…"
