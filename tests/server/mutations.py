"""A seed -> a request with a block that was good once: golden blocks with parts exchanged, bytes overwritten, wrapped in bombs.

The same seed makes the same request on every machine.
"""

from __future__ import annotations

import copy
import gzip
import json
import math
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import zstandard

MSGPACK, JSON = "application/x-foreshock-block", "application/json"
GOLDEN = sorted((Path(__file__).parents[1] / "contract").glob("block-*"))

TEXTS = [
    "",
    "\x00",
    "a\nb",
    "\ud800",
    "\ufeff",
    "\u202eabc",
    "é" * 600,
    "x" * 70_000,
    "NaN",
    "-Infinity",
    "nan",
    "../../etc/passwd",
    "<img src=x onerror=alert(1)>",
    "'; DROP TABLE runs; --",
    "{{7*7}} ${7*7} %s %n {0}",
    "loss{place=a,place=b}",
    "loss{",
    "__proto__",
    "\U0001f4a5" * 10,
]
NUMBERS = [
    -1,
    0,
    1,
    2**31,
    2**53,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
    -(2**63),
    1e308,
    -0.0,
    5e-324,
    math.nan,
    math.inf,
    -math.inf,
    1.5,
]


def hostile(random: random.Random, *, binary: bool) -> Any:
    """A value that does not belong there."""
    some: list[Callable[[], Any]] = [
        lambda: random.choice(TEXTS),
        lambda: random.choice(NUMBERS),
        lambda: random.choice([None, True, False, [], {}, [[]], {"": None}]),
        lambda: nested(random.choice([10, 200, 450])),
        lambda: [random.choice(NUMBERS)] * random.choice([1, 100, 20_001]),
        lambda: {str(i): i for i in range(random.choice([65, 1001]))},
        lambda: [[] for _ in range(random.choice([10, 4097]))],
    ]
    if binary:
        some += [
            lambda: random.randbytes(random.choice([0, 1, 7, 8, 16, 4096])),
            lambda: struct.pack("<d", random.choice([math.nan, math.inf, 1e308])) * random.choice([1, 2, 1000]),
            lambda: struct.pack("<q", random.choice([-(2**63), 2**63 - 1, 2**53 + 1, -1])) * random.choice([1, 2, 3]),
            lambda: msgpack.ExtType(random.choice([0, 5, 127]), random.randbytes(8)),
            lambda: msgpack.Timestamp(random.randrange(2**33), 7),
        ]  # fmt: skip
    return random.choice(some)()


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every part of it, itself left out."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    if len(way) > 20:  # what was put there is deep enough
        return []
    return [place for key, inner in entries for place in ((*way, key), *places(inner, (*way, key)))]


def mutated(random: random.Random, block: Any, *, binary: bool) -> Any:
    """The block with one to four parts changed."""
    block = copy.deepcopy(block)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        known = places(block)
        if not known:
            return hostile(random, binary=binary)
        *way, last = random.choice(known)
        inside = block
        for key in way:
            inside = inside[key]
        change = random.randrange(7)
        if change == 0 and isinstance(inside, dict):
            del inside[last]
        elif change == 1 and isinstance(inside, dict):
            inside[random.choice(TEXTS) if random.random() < 0.5 else "rows"] = inside.pop(last)
        elif change == 2 and isinstance(inside, list):
            inside.insert(random.randrange(len(inside) + 1), inside[last])
        elif change == 3 and isinstance(inside[last], (bytes, str, list)):
            whole = inside[last]
            inside[last] = whole[: random.randrange(len(whole) + 1)]
        elif change == 4 and isinstance(inside[last], bytes) and inside[last]:
            inside[last] = overwritten(random, inside[last])
        elif change == 5 and isinstance(inside[last], int) and not isinstance(inside[last], bool):
            inside[last] += random.choice([-2, -1, 1, 2, 2**31, 2**53])
        else:
            inside[last] = hostile(random, binary=binary)
    return block


def disguised(random: random.Random, block: Any) -> Any:
    """The block with a few readings that keep its form: NaN, infinities, steps and times at the end of the world."""
    block = copy.deepcopy(block)
    arrays = [
        way for way in places(block) if way[-1] in ("steps", "times", "values", "absent") and way[0] == "rows"
    ]
    for _ in range(random.randint(1, 3)):
        if not arrays:
            break
        *way, last = random.choice(arrays)
        inside = block
        for key in way:
            inside = inside[key]
        if isinstance(inside[last], list) and inside[last]:
            inside[last][random.randrange(len(inside[last]))] = random.choice(
                [*NUMBERS, "NaN", "Infinity", "-Infinity"]
            )
        elif inside[last]:
            size = 8 if last in ("steps", "times") else 4
            at = size * random.randrange(max(1, len(inside[last]) // size))
            number = random.choice([math.nan, math.inf, -math.inf, 1e308, -1e300, 0.0, 2e10, 1e15, 5e-324])
            raw = struct.pack("<d", number)
            if last == "steps":
                raw = struct.pack("<q", random.choice([-(2**53), -1, 0, 2**31, 2**53, 2**63 - 1]))
            elif last == "values":
                raw = (
                    raw[:4]
                    if random.random() < 0.3
                    else struct.pack("<f", random.choice([math.nan, math.inf, 3e38, 0]))
                )
            inside[last] = (inside[last][:at] + raw + inside[last][at + size :])[: len(inside[last])]
    return block


def overwritten(random: random.Random, body: bytes) -> bytes:
    """Some bytes of it flipped, cut out, doubled, or replaced by the beginning of something endless."""
    changed = bytearray(body)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(changed) + 1)
        change = random.randrange(5)
        if change == 0 and at < len(changed):
            changed[at] ^= 1 << random.randrange(8)
        elif change == 1:
            del changed[at : at + random.randint(1, 16)]
        elif change == 2:
            changed[at:at] = changed[at : at + 16]
        elif change == 3:
            changed[at : at + random.randint(0, 5)] = random.choice(ENDLESS)
        else:
            changed[at:at] = random.randbytes(random.randint(1, 8))
    return bytes(changed)


ENDLESS = [
    b"\xdd\xff\xff\xff\xff",  # a list, map, text, bytes, extension of 2**32 - 1
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\xc1",  # never used
    b"\xd9\x04\xff\xfe\xfd\xfc",  # a text that is not UTF-8
    b"\x91" * 600,  # lists in lists
    b"[" * 3000,
    b'{"v":' * 3000,
    b"1" * 5000,
    b"1e999",
    b"NaN",
    b"\\ud800",
]


def twice(random: random.Random, block: dict[str, Any], *, binary: bool) -> bytes:
    """The block with one of its keys written twice, the second time with something else."""
    key = random.choice(sorted(block))
    pairs = [*block.items(), (key, hostile(random, binary=binary))]
    if binary:
        packer = msgpack.Packer(unicode_errors="surrogatepass")
        packed: bytes = packer.pack_map_pairs(pairs)
        return packed
    return ("{" + ",".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in pairs) + "}").encode()


@dataclass(frozen=True)
class Attack:
    """A request to post a block."""

    body: bytes
    media_type: str
    encoding: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Content-Type": self.media_type,
            **({"Content-Encoding": self.encoding} if self.encoding else {}),
        }


def attack(seed: int) -> Attack:
    """The request of this seed; one in ten is wrapped or labelled wrongly too."""
    chance = random.Random(seed)
    path = chance.choice(GOLDEN)
    binary = path.suffix == ".msgpack"
    plain = path.read_bytes()
    block = msgpack.unpackb(plain) if binary else json.loads(plain)
    if chance.random() < 0.7:  # further on in the run, so that more than one may be stored
        block["seq"] = chance.randrange(1, 200)
    way = chance.random()
    if way < 0.25:
        body = packed(disguised(chance, block), binary=binary)
    elif way < 0.65:
        body = packed(mutated(chance, block, binary=binary), binary=binary)
    elif way < 0.75:
        body = twice(chance, block, binary=binary)
    elif way < 0.8:
        body = packed(
            [mutated(chance, block, binary=binary) for _ in range(chance.randint(0, 3))], binary=binary
        )
    else:
        body = overwritten(chance, plain)
    media_type = MSGPACK if binary else JSON
    if chance.random() < 0.05:
        media_type = chance.choice([JSON, MSGPACK, "", "text/html", "application/json; charset=utf-16"])
    return wrapped(chance, body, media_type) if chance.random() < 0.3 else Attack(body, media_type)


def packed(value: Any, *, binary: bool) -> bytes:
    """As the wire has it, also where it never should."""
    if binary:
        try:
            body: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
            return body
        except (ValueError, OverflowError):  # deeper, or a larger number, than the packer goes
            return b"\x91" * 5000 + b"\xc0"
    try:
        return json.dumps(value).encode()
    except RecursionError:
        return b"[" * 5000 + b"]" * 5000


def wrapped(random: random.Random, body: bytes, media_type: str) -> Attack:
    """Compressed, well or badly."""
    squeeze = zstandard.ZstdCompressor().compress
    ways: list[Callable[[], tuple[bytes, str]]] = [
        lambda: (gzip.compress(body, 1, mtime=0), "gzip"),
        lambda: (squeeze(body), "zstd"),
        lambda: (gzip.compress(gzip.compress(body, 1, mtime=0), 1, mtime=0), "gzip"),
        lambda: (squeeze(gzip.compress(body, 1, mtime=0)), "zstd"),
        lambda: (gzip.compress(body, 1, mtime=0), "gzip, gzip"),
        lambda: (gzip.compress(body, 1, mtime=0)[: len(body) // 2], "gzip"),
        lambda: (squeeze(body)[:-3], "zstd"),
        lambda: (squeeze(body) + squeeze(body), "zstd"),
        lambda: (overwritten(random, squeeze(body)), "zstd"),
        lambda: (overwritten(random, gzip.compress(body, 1, mtime=0)), "gzip"),
        lambda: (body, random.choice(["gzip", "zstd", "br", "deflate", "x" * 500, "identity"])),
        lambda: (zlib.compress(body), "deflate"),
    ]
    squeezed, encoding = random.choice(ways)()
    return Attack(squeezed, media_type, encoding)


def bombs(size: int) -> dict[str, Attack]:
    """Small bodies that would be `size` bytes or more, or deeper or longer than anything, if one believed them."""
    zeros = gzip.compress(bytes(size), 9, mtime=0)
    stream = zstandard.ZstdCompressor(level=3).compressobj()  # says nothing about its size
    unsaid = b"".join([*(stream.compress(bytes(2**20)) for _ in range(size // 2**20)), stream.flush()])
    window = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=27, compression_level=1)
    ).compressobj()
    return {
        "gzip of zeros": Attack(zeros, MSGPACK, "gzip"),
        "gzip in gzip": Attack(gzip.compress(zeros, 9, mtime=0), MSGPACK, "gzip"),
        "zstd that says its size": Attack(zstandard.ZstdCompressor().compress(bytes(size)), MSGPACK, "zstd"),
        "zstd that does not": Attack(unsaid, MSGPACK, "zstd"),
        "zstd with a window of 128 MiB": Attack(
            window.compress(bytes(size)) + window.flush(), MSGPACK, "zstd"
        ),
        "zstd of JSON brackets": Attack(zstandard.ZstdCompressor().compress(b"[" * size), JSON, "zstd"),
        "JSON of brackets": Attack(b"[" * (4 * 2**20), JSON),
        "JSON of empty lists": Attack(b"[" + b"[]," * 10**6 + b"[]]", JSON),
        "JSON of short texts": Attack(b"[" + b'"a",' * 10**6 + b'"a"]', JSON),
        "JSON of a long number": Attack(b"1" * (4 * 2**20), JSON),
        "msgpack of empty maps": Attack(b"\xdd\x00\x0f\x42\x40" + b"\x80" * 10**6, MSGPACK),
        "msgpack of lists in lists": Attack(b"\x91" * 10**6, MSGPACK),
        "msgpack of a list that promises": Attack(b"\xdd\xff\xff\xff\xff", MSGPACK),
        "msgpack of bytes that promise": Attack(b"\xc6\xff\xff\xff\xff", MSGPACK),
        "msgpack of short texts": Attack(b"\xdc\xff\xff" + b"\xa1a" * 0xFFFF, MSGPACK),
    }
