"""The requests of the SDK: open a run, store a block, close an attempt. Each is answered after its commit, then hinted."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from foreshock_server.deps import LINES, PLAIN, WHOLE, Access, Asking
from foreshock_server.ingest import described, schema
from foreshock_server.store import runs
from foreshock_server.store.numbers import storable
from foreshock_server.store.shelf import LONGEST_NOTE

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
UNDERSTANDS = ["axis", "lists"]  # what the contract has gained since its first version


def _names(schema: dict[str, Any]) -> None:
    """Keys with a pattern: pydantic writes patternProperties, which would allow any other key too."""
    [(pattern, values)] = schema.pop("patternProperties").items()
    schema["propertyNames"] = {"pattern": pattern, "minLength": 1, "maxLength": 64}
    schema["additionalProperties"] = values


class Opening(BaseModel):
    """What the SDK says about a run when it begins."""

    model_config = ConfigDict(allow_inf_nan=False, strict=True)

    project: str = Field(min_length=1, max_length=200, pattern=PLAIN)
    name: str = Field(default="", max_length=200, pattern=PLAIN)
    config: dict[str, Any] = Field(default_factory=dict)
    started_at: float = Field(ge=0, le=schema.FURTHEST, description="seconds since 1970, UTC")
    attempt: Annotated[int, Field(ge=1, le=2**31, strict=False), WHOLE]
    writer: str = Field(min_length=1, max_length=64, pattern=PLAIN)
    info: dict[str, Any] = Field(default_factory=dict)
    owner: str = Field(
        default="", max_length=100, pattern=PLAIN, description="of a new run; empty: whose key this is"
    )
    tags: list[Annotated[str, Field(min_length=1, max_length=64, pattern=PLAIN)]] = Field(
        default_factory=list, max_length=50, description="of a new run"
    )
    note: str = Field(
        default="", max_length=LONGEST_NOTE, pattern=LINES, description="of a new run, plain text"
    )


class Closing(BaseModel):
    """What the SDK says about an attempt when it ends."""

    model_config = ConfigDict(allow_inf_nan=False, strict=True)

    state: str = Field(pattern="^(finished|failed)$")
    at: float = Field(ge=0, le=schema.FURTHEST, description="seconds since 1970, UTC")
    last_seq: dict[
        Annotated[str, Field(min_length=1, max_length=64, pattern=PLAIN)],
        Annotated[int, Field(ge=0, le=2**53, strict=False), WHOLE],
    ] = Field(default_factory=dict, max_length=100_000, json_schema_extra=_names)


@router.put("/runs/{run}")
def open_run(request: Request, access: Asking, run: RunId, opening: Opening) -> dict[str, Any]:
    """Open a run, or the next attempt of it. Idempotent."""
    state = request.app.state
    access.must_own(
        opening.project,
        f"This key is for the project {access.project!r} alone; open the run there, or use a key for {opening.project!r}.",
    )
    with state.database.writing() as session:
        row = runs.open_run(
            session,
            run,
            project=opening.project,
            name=opening.name,
            config=storable(opening.config, "config"),
            attempt=opening.attempt,
            writer=opening.writer,
            info=storable(opening.info, "info"),
            started_at=opening.started_at,
            now=time.time(),
            owner=opening.owner or _whose(access),
            tags=opening.tags,
            note=opening.note.strip(),
        )
        access.must_own(row.project, "This run id is taken; open the run under another.")
    state.bus.publish(run)
    return {
        "run": run,
        "attempt": opening.attempt,
        "url": f"{state.settings.page_url}/runs/{run}",
        "understands": UNDERSTANDS,
    }


@router.post("/runs/{run}/blocks", response_model=dict[str, Any], openapi_extra=described.REQUEST)
async def post_block(
    request: Request,
    run: RunId,
    floor: Annotated[int, Query(ge=1, le=2**53, description="no seq below it will be sent again")] = 1,
) -> Response:
    """Store a block, or a list of some of one writer, once; the answer carries the acknowledgement and the alerts that fire now."""
    stored = await request.app.state.receiver.receive(request, run, floor)
    answer = {
        "ack": stored.ack,
        "actions": [],
        "alerts": stored.alerts,
        "retry_after": None,
    }
    return Response(json.dumps(answer), media_type="application/json")


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


def _whose(access: Access) -> str | None:
    """Who opens a run, as far as a key says it: that of the settings is nobody's."""
    return access.name[:100] or None if access.key not in (None, "settings") else None
