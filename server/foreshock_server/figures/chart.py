"""The picture behind the link in a message, for receivers that fetch images. Its signature is all that is asked for."""

from __future__ import annotations

import time

from fastapi import APIRouter, Response

from foreshock_server.deps import Reading
from foreshock_server.errors import DomainError
from foreshock_server.figures.alarm import picture_of
from foreshock_server.store.letters import get_delivery
from foreshock_server.store.links import behind, chart_of

router = APIRouter(include_in_schema=False)

_HEADERS = {"Cache-Control": "private, max-age=86400", "X-Robots-Tag": "noindex"}


@router.api_route("/incidents/{run}/{number}/chart.png", methods=["GET", "HEAD"])
def get_chart(
    session: Reading, run: str, number: str, message: str = "", until: str = "", signature: str = ""
) -> Response:
    """The PNG; 403 for a link that does not hold, 404 when there is nothing to draw any more."""
    incident = behind(session, run, number, until, signature, time.time(), chart_of(message))
    if incident is None:
        return Response(
            "This link does not hold: it is over, or not complete.\n", 403, media_type="text/plain"
        )
    try:
        png = picture_of(session, get_delivery(session, message))
    except (DomainError, ModuleNotFoundError):  # the message was forgotten, or Pillow is not installed here
        png = None
    if png is None:
        return Response("There is no picture.\n", 404, media_type="text/plain")
    return Response(png, headers=_HEADERS, media_type="image/png")
