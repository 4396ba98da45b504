"""Links that need no key: one acknowledges an incident, one shows the chart of a message. They end after a week, and with the run."""

from __future__ import annotations

import hashlib
import hmac
import math
from urllib.parse import quote, urlencode

from sqlalchemy.orm import Session

from foreshock_server.errors import DomainError
from foreshock_server.models import Incident
from foreshock_server.store.incidents import get_incident

LASTS = 7 * 86400.0  # seconds
ACKNOWLEDGE = "acknowledge"


def acknowledge_path(incident: Incident, made_at: float) -> str:
    """Path and query, the same for the same moment."""
    until = math.ceil(made_at + LASTS)
    query = urlencode({"until": until, "signature": _signature(incident, ACKNOWLEDGE, until)})
    return f"/acknowledge/{quote(incident.run_id, safe='')}/{incident.number}?{query}"


def chart_path(incident: Incident, delivery_id: str, made_at: float) -> str:
    """The same of the picture that goes with one message."""
    until = math.ceil(made_at + LASTS)
    signature = _signature(incident, chart_of(delivery_id), until)
    query = urlencode({"message": delivery_id, "until": until, "signature": signature})
    return f"/incidents/{quote(incident.run_id, safe='')}/{incident.number}/chart.png?{query}"


def chart_of(delivery_id: str) -> str:
    """What such a link shows, as `behind` asks for it."""
    return f"chart {delivery_id}"


def behind(
    session: Session, run: str, number: str, until: str, signature: str, now: float, what: str = ACKNOWLEDGE
) -> Incident | None:
    """The incident, if the link is one of ours for `what`; what is wrong otherwise is nobody's business."""
    plain = all(text.isascii() and text.isdigit() and len(text) < 16 for text in (number, until))
    if not plain:
        return None
    try:
        incident = get_incident(session, run, int(number))
    except DomainError:
        return None
    return incident if _is_genuine(incident, what, int(until), signature, now) else None


def _is_genuine(incident: Incident, what: str, until: int, signature: str, now: float) -> bool:
    """True when we made it for this incident and its time is not over."""
    expected = _signature(incident, what, until).encode()
    same = hmac.compare_digest(expected, signature.encode("utf-8", "surrogateescape"))
    return bool(incident.secret) and same and now < until


def _signature(incident: Incident, what: str, until: int) -> str:
    said = f"{what} {incident.run_id} {incident.number} {until}"
    return hmac.new(incident.secret.encode(), said.encode(), hashlib.sha256).hexdigest()
