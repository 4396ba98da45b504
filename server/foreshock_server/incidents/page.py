"""The page behind the link in a message. To look at it changes nothing, as programs that preview links look too: its button does."""

from __future__ import annotations

import html
import time

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from foreshock_server.deps import Reading, Writing
from foreshock_server.models import Incident, Run
from foreshock_server.store.incidents import OPEN, acknowledge
from foreshock_server.store.links import behind

router = APIRouter(include_in_schema=False)

BY_LINK = "the link in a message"
_HEADERS = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex"}
_STYLE = (
    "body{font:16px/1.5 system-ui;margin:3rem auto;max-width:36rem;padding:0 1rem;color-scheme:light dark}"
    "button{font:inherit;padding:.6rem 1.4rem}"
)


@router.api_route("/acknowledge/{run}/{number}", methods=["GET", "HEAD"])
def look(
    request: Request, session: Reading, run: str, number: str, until: str = "", signature: str = ""
) -> HTMLResponse:
    """What it is about, and a button."""
    incident = behind(session, run, number, until, signature, time.time())
    if incident is None:
        return _over()
    return _page(request, session.get_one(Run, run), incident)


@router.post("/acknowledge/{run}/{number}")
def press(
    request: Request, session: Writing, run: str, number: str, until: str = "", signature: str = ""
) -> HTMLResponse:
    """Somebody pressed it."""
    incident = behind(session, run, number, until, signature, time.time())
    if incident is None:
        return _over()
    incident = acknowledge(session, run, incident.number, BY_LINK, time.time())
    request.app.state.bus.publish(run)
    return _page(request, session.get_one(Run, run), incident)


def _page(request: Request, run: Run, incident: Incident) -> HTMLResponse:
    about = f"{run.project} / {run.name}: {incident.family} ({', '.join(incident.rules)})"
    if incident.acknowledged_at is not None:
        at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(incident.acknowledged_at))
        said = f"<p>Acknowledged at {at} by {html.escape(incident.acknowledged_by or '')}. Nothing more is sent before it is over.</p>"
    elif incident.state != OPEN:
        said = "<p>It is over already; there is nothing to acknowledge.</p>"
    else:
        said = (
            "<p>Somebody looks after it? Then nobody is reminded, and no further channel is called.</p>"
            "<form method=post><button>Acknowledge</button></form>"
        )
    address = html.escape(f"{request.app.state.settings.page_url}/runs/{run.id}")
    return _html(f"<h1>{html.escape(about)}</h1>{said}<p><a href='{address}'>Open the run</a></p>", 200)


def _over() -> HTMLResponse:
    return _html(
        "<h1>This link does not hold</h1><p>It is over, or not complete. Sign in on Foreshock's page, or ask for the message again.</p>",
        403,
    )


def _html(body: str, status: int) -> HTMLResponse:
    return HTMLResponse(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Foreshock</title>"
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>{body}</html>",
        status,
        _HEADERS,
    )
