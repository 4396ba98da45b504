"""The requests of the SDK: open a run, store a block, close an attempt. Each is answered after its commit, then hinted."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from foreshock_server.ingest import decode, schema, service
from foreshock_server.store import runs
from foreshock_server.store.numbers import storable

router = APIRouter(tags=["ingest"])

RunId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$",
        description="1 to 64 of A-Z a-z 0-9 . _ -",
    ),
]
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"


class Opening(BaseModel):
    """What the SDK says about a run when it begins."""

    model_config = ConfigDict(allow_inf_nan=False)

    project: str = Field(min_length=1, max_length=200, pattern=_PRINTABLE)
    name: str = Field(default="", max_length=200, pattern=_PRINTABLE)
    config: dict[str, Any] = Field(default_factory=dict)
    started_at: float = Field(ge=0, description="seconds since 1970, UTC")
    attempt: int = Field(ge=1, le=2**31)
    writer: str = Field(min_length=1, max_length=64, pattern=_PRINTABLE)
    info: dict[str, Any] = Field(default_factory=dict)


class Closing(BaseModel):
    """What the SDK says about an attempt when it ends."""

    model_config = ConfigDict(allow_inf_nan=False)

    state: str = Field(pattern="^(finished|failed)$")
    at: float = Field(ge=0, description="seconds since 1970, UTC")
    last_seq: dict[
        Annotated[str, Field(min_length=1, max_length=64, pattern=_PRINTABLE)],
        Annotated[int, Field(ge=0, le=2**53)],
    ] = Field(default_factory=dict, max_length=100_000)


async def _body(request: Request) -> bytes:
    return await request.body()  # bounded for every route by app.py


@router.put("/runs/{run}")
def open_run(request: Request, run: RunId, opening: Opening) -> dict[str, Any]:
    """Open a run, or the next attempt of it. Idempotent."""
    state = request.app.state
    with state.database.writing() as session:
        runs.open_run(
            session,
            run,
            project=opening.project,
            name=opening.name,
            config=storable(opening.config),
            attempt=opening.attempt,
            writer=opening.writer,
            info=storable(opening.info),
            started_at=opening.started_at,
            now=time.time(),
        )
    state.bus.publish(run)
    return {"run": run, "attempt": opening.attempt, "url": f"{state.settings.page_url}/runs/{run}"}


@router.post("/runs/{run}/blocks")
def post_block(
    request: Request,
    run: RunId,
    body: Annotated[bytes, Depends(_body)],
    floor: Annotated[int, Query(ge=1, le=2**53, description="no seq below it will be sent again")] = 1,
) -> dict[str, Any]:
    """Store a block once; the answer carries the acknowledgement and the alerts that fire now."""
    state = request.app.state
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "").strip().lower()
    plain = decode.decompress(body, encoding, state.settings.max_block_bytes)
    parsed = decode.parse(plain, media_type)
    block = schema.block(parsed, binary=media_type == decode.MSGPACK)
    with state.database.writing() as session:
        receipt = service.store(session, run, block, floor=floor, now=time.time())
    if receipt.stored:
        state.bus.publish(run)
    return {"ack": receipt.ack, "actions": [], "alerts": receipt.alerts, "retry_after": None}


@router.post("/runs/{run}/attempts/{attempt}/finish")
def finish_attempt(
    request: Request, run: RunId, attempt: Annotated[int, Path(ge=1, le=2**31)], closing: Closing
) -> dict[str, Any]:
    """Close an attempt. Idempotent."""
    state = request.app.state
    with state.database.writing() as session:
        row = runs.finish_attempt(
            session,
            run,
            attempt,
            state=closing.state,
            at=closing.at,
            last_seq=closing.last_seq,
            now=time.time(),
        )
        answer = {"run": run, "state": row.state}
    state.bus.publish(run)
    return answer
