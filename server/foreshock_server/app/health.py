"""Alive, ready, and what Prometheus wants to know. These answer from the event loop: what hangs the pool must not hang them."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from foreshock_server.app.readiness import PATIENCE

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """200 when this process can do its work, `degraded` when it does it slower; else 503. Each check says why."""
    checks = await request.app.state.readiness.checks()
    worst = {check.status for check in checks.values()}
    status = next(one for one in ("failing", "degraded", "ok") if one in worst)
    body: dict[str, Any] = {
        "status": status,
        "checks": {name: check.as_json() for name, check in checks.items()},
    }
    return JSONResponse(body, 503 if status == "failing" else 200, {"Cache-Control": "no-store"})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """In Prometheus' text format, or OpenMetrics if asked. Answers without the database too."""
    state = request.app.state
    await state.backlog.refresh(PATIENCE)
    accept = request.headers.get("accept", "")
    body, media_type = await asyncio.to_thread(_written, state.instruments.registry, accept)
    return Response(body, media_type=media_type)


def _written(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    try:
        encode, media_type = choose_encoder(accept)
        return encode(registry), media_type
    except TypeError:  # prometheus-client cannot compare what somebody called a version
        encode, media_type = choose_encoder("")
        return encode(registry), media_type
