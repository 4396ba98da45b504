"""Bytes of a request -> the plain object in them, in bounded memory; MalformedBlock or BlockTooLarge otherwise.

Whoever can reach the port can send anything, so nothing here trusts a length that the sender wrote.
"""

from __future__ import annotations

import json
import zlib
from typing import Any, NoReturn

import msgpack
import zstandard

from foreshock_server.errors import BlockTooLarge, DamagedBlock, MalformedBlock

MSGPACK = "application/x-foreshock-block"
JSON = "application/json"
MOST_CONTAINERS = 100_000  # maps and lists in one body: an empty one costs a byte to send and sixty to hold
MOST_ENTRIES = 1_000_000  # of all of these together: a short text costs three bytes to send and sixty to hold
JSON_SHARE = (
    4  # a body of JSON may have this part of the limit: a list of texts costs fifteen times its size to hold
)
LARGEST_WINDOW = 8 * 2**20  # what RFC 8878 asks of every zstd decoder


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its Content-Encoding, never more than `limit` bytes of it."""
    if encoding in ("", "identity"):
        plain = body
    elif encoding == "gzip":
        plain = _gunzip(body, limit)
    elif encoding == "zstd":
        plain = _unzstd(body, limit)
    else:
        raise MalformedBlock(
            f"Content-Encoding {encoding!r} is not understood; send zstd, gzip or no encoding.",
            field="Content-Encoding",
        )
    if len(plain) > limit:
        raise BlockTooLarge(f"The block is larger than {limit:,} bytes; send fewer steps at a time.")
    return plain


def verify(body: bytes, checksum: str) -> None:
    """Compare with the CRC-32 that the sender computed, eight hexadecimal digits; DamagedBlock when it is another. Empty: it sent none."""
    if checksum and f"{zlib.crc32(body):08x}" != checksum.strip().lower():
        raise DamagedBlock


def parse(body: bytes, media_type: str, limit: int) -> object:
    """What the bytes, `limit` at most, say: maps, lists, text, numbers and bytes."""
    if media_type == MSGPACK:
        return _msgpack(body)
    if media_type == JSON:
        if len(body) > limit // JSON_SHARE:
            raise BlockTooLarge(
                f"The block is larger than the {limit // JSON_SHARE:,} bytes that JSON may have; send msgpack, or fewer steps."
            )
        return _json(body)
    raise MalformedBlock(
        f"Content-Type {media_type or '(none)'!r} is not a block; send {MSGPACK} or {JSON}.",
        field="Content-Type",
    )


def _gunzip(body: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise MalformedBlock(f"The body is not gzip: {error}.", field="Content-Encoding") from error
    if len(plain) > limit:
        raise _too_large(limit)
    if not stream.eof or stream.unused_data:
        raise MalformedBlock("The gzip body is cut off, or something follows it.", field="Content-Encoding")
    return plain


def _unzstd(body: bytes, limit: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)
    try:
        if _is_longer(decompressor, body, limit):  # what the frame says of its size may be a lie
            raise _too_large(limit)
        stream = decompressor.decompressobj()
        plain = stream.decompress(body)
    except zstandard.ZstdError as error:
        raise MalformedBlock(f"The body is not zstd: {error}.", field="Content-Encoding") from error
    if not stream.eof or stream.unused_data:
        raise MalformedBlock("The zstd body is cut off, or something follows it.", field="Content-Encoding")
    return plain


def _is_longer(decompressor: zstandard.ZstdDecompressor, body: bytes, limit: int) -> bool:
    size = 0
    with decompressor.stream_reader(body) as stream:
        while size <= limit and (piece := stream.read(2**16)):
            size += len(piece)
    return size > limit


def _too_large(limit: int) -> BlockTooLarge:
    return BlockTooLarge(
        f"The block is larger than {limit:,} bytes after decompression; send fewer steps at a time."
    )


def _msgpack(body: bytes) -> object:
    containers = entries = 0

    def count(container: Any) -> Any:
        nonlocal containers, entries
        containers += 1
        entries += len(container)
        if containers > MOST_CONTAINERS:
            raise MalformedBlock(f"A block may hold {MOST_CONTAINERS:,} maps and lists at most.", field="")
        if entries > MOST_ENTRIES:
            raise MalformedBlock(
                f"A block may hold {MOST_ENTRIES:,} entries of maps and lists at most.", field=""
            )
        return container

    def refuse(code: int, _data: bytes) -> NoReturn:
        raise MalformedBlock(
            f"The block holds a msgpack extension (type {code}); send plain types only.", field=""
        )

    try:
        return msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            object_hook=count,
            list_hook=count,
            ext_hook=refuse,
            max_array_len=MOST_CONTAINERS,
            max_map_len=1000,
        )
    except UnicodeDecodeError as error:
        raise MalformedBlock(f"A string of the block is not UTF-8: {error.reason}.", field="") from error
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        # StackError (too deep) and the length limits are ValueErrors; some of msgpack's errors have no text
        raise MalformedBlock(
            f"The body is not one msgpack object within the limits: {str(error) or type(error).__name__}.",
            field="",
        ) from error


def _json(body: bytes) -> object:
    def refuse(name: str) -> NoReturn:
        raise MalformedBlock(f'{name} is not JSON; write it as a string: "{name}".', field="")

    try:
        return json.loads(body.decode(), parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise MalformedBlock(f"The body is not UTF-8: {error.reason}.", field="") from error
    except RecursionError as error:
        raise MalformedBlock("The body is nested too deeply.", field="") from error
    except ValueError as error:
        raise MalformedBlock(f"The body is not JSON: {error}.", field="") from error
