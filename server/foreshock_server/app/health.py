"""Alive, ready, and a few numbers for Prometheus."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from foreshock_server import migrate
from foreshock_server.db import Database
from foreshock_server.deps import Reading
from foreshock_server.models import Alert, Block, Delivery, Run, Transition

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(request: Request) -> JSONResponse:
    """What this process needs answers too; else 503, naming what does not."""
    state = request.app.state
    parts = {"database": _database(state.database), "bus": state.bus.problem()}
    failing = {name: problem for name, problem in parts.items() if problem is not None}
    body: dict[str, Any] = {name: problem or "ok" for name, problem in parts.items()}
    return JSONResponse({"status": "failing" if failing else "ok", **body}, 503 if failing else 200)


@router.get("/metrics")
def metrics(request: Request, session: Reading) -> Response:
    """Counts of what is stored, in Prometheus' text format."""
    lines: list[str] = []
    _family(lines, "foreshock_runs", "gauge", "runs by state as told", _by(session, Run.state))
    _family(lines, "foreshock_points_stored", "gauge", "readings stored", _one(session, func.sum(Run.points)))
    _family(lines, "foreshock_blocks_stored", "gauge", "blocks stored", _one(session, func.count(Block.seq)))
    _family(lines, "foreshock_alerts", "gauge", "alerts by state", _by(session, Alert.state))
    _family(
        lines,
        "foreshock_transitions",
        "gauge",
        "changes of alerts by kind",
        _by(session, Transition.kind, "kind"),
    )
    _family(lines, "foreshock_deliveries", "gauge", "messages by state", _by(session, Delivery.state))
    _family(
        lines,
        "foreshock_live_clients",
        "gauge",
        "open live streams of this process",
        {"": len(request.app.state.listeners)},
    )
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


def _database(database: Database) -> str | None:
    try:
        with database.reading() as session:
            session.execute(text("SELECT 1"))
            missing = migrate.pending(session.connection())
    except SQLAlchemyError as error:
        return str(error).splitlines()[0]
    return f"lacks revision {', '.join(missing)}: run `foreshock migrate`" if missing else None


def _by(session: Session, column: Any, label: str = "state") -> dict[str, float]:
    query = select(column, func.count()).group_by(column).order_by(column)
    return {f'{{{label}="{value}"}}': number for value, number in session.execute(query)}


def _one(session: Session, number: Any) -> dict[str, float]:
    return {"": session.scalar(select(number)) or 0}


def _family(lines: list[str], name: str, kind: str, about: str, values: dict[str, float]) -> None:
    lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    lines += [
        f"{name}{labels} {value:g}" if value < 1e6 else f"{name}{labels} {value}"
        for labels, value in values.items()
    ]
