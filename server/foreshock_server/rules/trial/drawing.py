"""A short string -> the readings of one series, as rule tests draw them. Pure; README.md beside the rules has the grammar.

`1x20 1~>0.1x60 NaN _x5` is twenty readings of 1, sixty that fall to 0.1 by equal factors, one that is not a number, and five
steps without a reading.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

MOST_READINGS = 100_000  # of one drawing
LONGEST = 20_000  # characters
DEEPEST = 8  # brackets in brackets
_NUMBER = r"[-+]?(?:[0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})(?:[eE][-+]?[0-9]{1,2})?"
_PIECE = re.compile(
    rf"(?:(?P<odd>NaN|[-+]?Inf)|(?P<gap>_)|@(?P<step>[0-9]{{1,15}})|\+(?P<pause>{_NUMBER})s"
    rf"|(?P<value>{_NUMBER})(?:(?P<way>->|~>)(?P<end>{_NUMBER}))?(?:(?:±|\+-)(?P<noise>{_NUMBER})(?P<percent>%)?)?)"
    r"(?:x(?P<count>[0-9]{1,9}))?"
)
_TOKEN = re.compile(r"\(|\)(?:x[0-9]{1,9})?|[^\s()]+")
_NORMAL = NormalDist()


class BadDrawing(ValueError):
    """A drawing that cannot be read; the message says what to write."""


class Drawn(NamedTuple):
    """One place of a drawing."""

    attempt: int
    step: int
    time: float  # seconds since the first
    value: float | None  # None: a step without a reading


@dataclass
class _Clock:
    step: int
    every: int
    seconds: float
    attempt: int = 1
    time: float = 0.0
    last: int | None = None

    def tick(self, value: float | None) -> Drawn:
        if self.last is not None and self.step <= self.last:
            self.attempt += 1
        here = Drawn(self.attempt, self.step, self.time, value)
        self.last = self.step
        self.step += self.every
        self.time += self.seconds
        return here


def draw(text: str, *, start: int = 0, every: int = 1, seconds: float = 1.0, seed: int = 0) -> list[Drawn]:
    """The readings that the text draws: the first at step `start`, then one after `every` steps and so many seconds.

    Noise is normal and the same at each call with the same `seed`. BadDrawing for what is no drawing.
    """
    if len(text) > LONGEST:
        raise BadDrawing(f"has more than {LONGEST:,} characters; repeat with `x` and brackets")
    tokens = _TOKEN.findall(text)
    if not tokens:
        raise BadDrawing("is empty; write readings, such as `1x20 1->0.1x60`")
    if _length(tokens) > MOST_READINGS:  # before any is made
        raise BadDrawing(f"draws more than {MOST_READINGS:,} readings")
    chance = random.Random(seed)
    clock = _Clock(start, every, seconds)
    found: list[Drawn] = []
    for token in _flat(tokens):
        piece = _read(token)
        if piece["step"] is not None:
            clock.step = int(piece["step"])
        elif piece["pause"] is not None:
            clock.time += float(piece["pause"])
        else:
            found += [clock.tick(value) for value in _values(piece, chance)]
    if not found:
        raise BadDrawing("draws no reading; write some, such as `1x20`")
    return found


def _read(token: str) -> dict[str, str | None]:
    match = _PIECE.fullmatch(token)
    if match is None:
        raise BadDrawing(
            f"has {token!r}, which is none of: `1.5x20` (a value, repeated), `1->0.1x60` (a ramp), `1~>0.1x60` (by equal "
            "factors), `1±0.1x60` or `1±5%x60` (with noise), `NaN`, `Inf`, `-Inf`, `_x5` (no reading), `@300` (go to step "
            "300), `+600s` (so much later), `(1 2)x3` (repeated)"
        )
    piece = match.groupdict()
    if piece["count"] == "0":
        raise BadDrawing(f"has {token!r}: nothing at all; leave it out")
    if piece["count"] is not None and (piece["step"] is not None or piece["pause"] is not None):
        raise BadDrawing(f"has {token!r}: what moves the clock cannot be repeated")
    if piece["way"] is not None and int(piece["count"] or 1) < 2:
        raise BadDrawing(f"has {token!r}: say over how many readings, such as `{token}x60`")
    if piece["way"] == "~>" and min(float(piece["value"] or 0), float(piece["end"] or 0)) <= 0:
        raise BadDrawing(
            f"has {token!r}: equal factors need both ends above 0; write `->` for a straight line"
        )
    return piece


def _values(piece: dict[str, str | None], chance: random.Random) -> Iterator[float | None]:
    count = int(piece["count"] or 1)
    if piece["gap"] is not None:
        yield from [None] * count
        return
    at = _course(piece, count)
    width, relative = float(piece["noise"] or 0.0), piece["percent"] is not None
    for row in range(count):
        value = at(row)
        if width:
            scale = abs(value) * width / 100 if relative else width
            # inv_cdf of a uniform number: random() is the same in every release of Python, gauss() need not be.
            value += scale * _NORMAL.inv_cdf(min(max(chance.random(), 1e-12), 1 - 1e-12))
        yield value


def _course(piece: dict[str, str | None], count: int) -> Callable[[int], float]:
    if piece["odd"] is not None:
        odd = float(piece["odd"])
        return lambda _: odd
    first = float(piece["value"] or 0.0)
    if piece["way"] is None:
        return lambda _: first
    last, most = float(piece["end"] or 0.0), count - 1
    if piece["way"] == "->":
        return lambda row: first + (last - first) * (row / most)
    low, high = math.log(first), math.log(last)
    return lambda row: math.exp(low + (high - low) * (row / most))


def _flat(tokens: list[str]) -> Iterator[str]:
    """Brackets opened out."""
    place = 0
    while place < len(tokens):
        if tokens[place] != "(":
            yield tokens[place]
            place += 1
            continue
        end = _end_of(tokens, place)
        inside = list(_flat(tokens[place + 1 : end]))
        for _ in range(_repeats(tokens[end])):
            yield from inside
        place = end + 1


def _length(tokens: list[str], depth: int = 0) -> int:
    """How many readings, and moves of the clock, the tokens stand for."""
    if depth > DEEPEST:
        raise BadDrawing(f"has more than {DEEPEST} brackets in one another")
    total, place = 0, 0
    while place < len(tokens):
        token = tokens[place]
        if token.startswith(")"):
            raise BadDrawing("closes a bracket that was not opened")
        if token == "(":  # noqa: S105 (a bracket, no password)
            end = _end_of(tokens, place)
            total += _repeats(tokens[end]) * _length(tokens[place + 1 : end], depth + 1)
            place = end + 1
            continue
        total += int(_read(token)["count"] or 1)
        place += 1
    return total


def _end_of(tokens: list[str], start: int) -> int:
    depth = 0
    for place in range(start, len(tokens)):
        depth += (tokens[place] == "(") - tokens[place].startswith(")")
        if depth == 0:
            return place
    raise BadDrawing("opens a bracket that is not closed")


def _repeats(token: str) -> int:
    return int(token[2:] or 1) if token != ")" else 1  # noqa: S105
