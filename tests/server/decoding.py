"""Hostile bodies through the decoder, in a process that may map only so much more: `python -m tests.server.decoding SEEDS BOUND LIMIT`.

Prints one line of JSON: how many were taken and refused, and by how many bytes the process grew at most. Ends with 1, naming the
input, when one of them makes anything but a DomainError, takes more than a minute, or does not fit.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Iterator

import msgpack
from tests.server.mutations import JSON, MSGPACK, Attack, attack, bombs

from foreshock_server.errors import DomainError
from foreshock_server.ingest import decode, schema

PATIENCE = 60  # seconds


def heaviest(limit: int) -> dict[str, Attack]:
    """Well-formed bodies that fill the limit with what costs most to hold for each of its bytes."""
    text, pair = b"\xa2ab", b"\x92\xa1a\xc0"
    full = limit - 64
    return {
        "texts of two letters": Attack(lists_of(text, full), MSGPACK),
        "different texts": Attack(
            msgpack.packb([[f"{i:x}" for i in range(j, j + 90_000)] for j in range(0, full // 8, 90_000)]), MSGPACK
        ),
        "doubles": Attack(lists_of(b"\xcb" + bytes(8), full), MSGPACK),
        "integers": Attack(lists_of(b"\xcd\xff\x01", full), MSGPACK),
        "lists of two": Attack(b"\xdd\x00\x01\x86\x9f" + pair * 99_999, MSGPACK),
        "JSON texts": Attack(b"[" + b'"ab",' * (full // 20) + b'"ab"]', JSON),
        "JSON numbers": Attack(b"[" + b"1.5," * (full // 16) + b"1.5]", JSON),
        "JSON lists": Attack(b"[" + b"[]," * (full // 12) + b"[]]", JSON),
        "JSON objects": Attack(b"[" + b'{"a":1},' * (full // 32) + b"{}]", JSON),
    }  # fmt: skip


def lists_of(item: bytes, size: int) -> bytes:
    """A list of lists of 99,999 such items, about `size` bytes in all."""
    inner = b"\xdd\x00\x01\x86\x9f" + item * 99_999
    count = max(1, size // len(inner))
    return b"\xdd" + count.to_bytes(4, "big") + inner * count


def inputs(seeds: int, limit: int) -> Iterator[tuple[str, Attack]]:
    """The worst first, while the process is small."""
    yield from bombs(8 * limit).items()
    yield from heaviest(limit).items()
    for seed in range(seeds):
        yield f"seed {seed}", attack(seed)


def taken(one: Attack, limit: int) -> bool:
    """Whether it is a block; False when it is refused."""
    try:
        plain = decode.decompress(one.body, one.encoding, limit)
        media_type = one.media_type.partition(";")[0]
        for block in schema.blocks(decode.parse(plain, media_type, limit), binary=media_type == MSGPACK):
            for rows in block.rows:
                rows.group(
                    max(1, len(rows.values) // (len(rows.steps) * (4 if media_type == MSGPACK else 1))), "f32"
                )
    except DomainError as error:
        json.dumps(error.body()).encode()
        return False
    return True


def high_water() -> int:
    """The most bytes that this process has held since they were last forgotten."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def main(seeds: int, bound: int, limit: int) -> int:
    """See above."""
    all_inputs = list(inputs(seeds, limit))  # made before anything is bounded
    with open("/proc/self/clear_refs", "w") as forget:
        forget.write("5")
    before = high_water()
    with open("/proc/self/statm") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + bound, mapped + bound))
    good = 0
    for name, one in all_inputs:
        signal.alarm(PATIENCE)
        try:
            good += taken(one, limit)
        except BaseException as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
    signal.alarm(0)
    grown = high_water() - before
    print(json.dumps({"taken": good, "refused": len(all_inputs) - good, "grown": grown}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:4])))
