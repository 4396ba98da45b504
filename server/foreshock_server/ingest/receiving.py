"""A request with blocks -> what was stored of it: its body read within the budget, decoded, validated, handed to the committer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from foreshock_server.db import Database
from foreshock_server.deps import body_size
from foreshock_server.errors import DatabaseAway, Overloaded
from foreshock_server.ingest import decode, schema
from foreshock_server.ingest.budget import Budget, Held
from foreshock_server.ingest.committer import AWAY_FOR, Committer, Stored
from foreshock_server.ingest.schema import IncomingBlock
from foreshock_server.ingest.service import Arrival
from foreshock_server.telemetry import note

MOST_INCOMING = 128 * 2**20  # bytes of blocks between their arrival and their commit
BODY_SECONDS = 30.0  # to send a body; what is not there then leaves its room to others
COMMIT_SECONDS = 12.0  # to store it: less than the SDK waits for an answer
SMALL = 2**18  # bytes of msgpack that are decoded where they arrive: less than a millisecond
DECODERS = (
    2  # at a time, of what takes long or a multiple of its size: hostile text takes twenty times as much
)


class Receiver:
    """The way in of one process. No thread waits with a request: only the commit has one."""

    def __init__(self, database: Database, publish: Callable[[str], None], most_block_bytes: int) -> None:
        self.budget = Budget(max(MOST_INCOMING, 2 * most_block_bytes))
        self.committer = Committer(database, publish)
        self._most = most_block_bytes
        self._decoders = ThreadPoolExecutor(DECODERS, "foreshock-decode")

    async def receive(self, request: Request, run_id: str, floor: int) -> Stored:
        """What the answer says, once everything is committed; else the error that the answer is."""
        held = self.budget.open(run_id)
        try:
            body = await self._body(request, held)
            blocks = await self._blocks(request, body, held)
            del body
            arrivals = [Arrival(block, floor) for block in blocks]
            future = self.committer.submit(run_id, arrivals, held.size)
        except BaseException:
            held.release()
            raise
        future.add_done_callback(lambda _: held.release())
        note(blocks=len(arrivals))
        try:
            stored = await asyncio.wait_for(asyncio.wrap_future(future), COMMIT_SECONDS)
        except asyncio.TimeoutError:
            raise DatabaseAway(
                "The database is slow; whether it was stored is not known yet, send it again.",
                retry_after=AWAY_FOR,
            ) from None
        note(points=stored.points, outcome="stored" if stored.stored else "known")
        return stored

    def close(self) -> None:
        """Store what waits, and take nothing more."""
        self.committer.close()
        self._decoders.shutdown()

    async def _body(self, request: Request, held: Held) -> bytes:
        size = body_size(request.headers)
        if size is not None:  # no more than a block may have: see app/edge.py
            held.grow(size)
        try:
            return await asyncio.wait_for(_read(request, held), BODY_SECONDS)
        except asyncio.TimeoutError:
            raise Overloaded(
                f"The body did not arrive within {BODY_SECONDS:g} seconds; send less at a time.",
                retry_after=AWAY_FOR,
            ) from None
        except ClientDisconnect:
            raise HTTPException(400, "The body was cut off.") from None

    async def _blocks(self, request: Request, body: bytes, held: Held) -> list[IncomingBlock]:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = request.headers.get("content-encoding", "").strip().lower()
        checksum = request.headers.get("foreshock-crc32", "")

        def work() -> list[IncomingBlock]:
            plain = decode.decompress(body, encoding, self._most)
            held.grow(len(plain))
            decode.verify(plain, checksum)
            parsed = decode.parse(plain, media_type, self._most)
            return schema.blocks(parsed, binary=media_type == decode.MSGPACK)

        if media_type == decode.MSGPACK and not encoding and len(body) <= SMALL:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work)


async def _read(request: Request, held: Held) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        held.grow(size)
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
