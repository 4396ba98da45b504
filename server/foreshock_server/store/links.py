"""The link that acknowledges an incident: whoever holds it needs no key. It ends after a week, and with the incident's run."""

from __future__ import annotations

import hashlib
import hmac
import math
from urllib.parse import quote, urlencode

from foreshock_server.models import Incident

LASTS = 7 * 86400.0  # seconds


def acknowledge_path(incident: Incident, made_at: float) -> str:
    """Path and query, the same for the same moment."""
    until = math.ceil(made_at + LASTS)
    query = urlencode({"until": until, "signature": _signature(incident, until)})
    return f"/acknowledge/{quote(incident.run_id, safe='')}/{incident.number}?{query}"


def is_genuine(incident: Incident, until: int, signature: str, now: float) -> bool:
    """True when we made it for this incident and its time is not over."""
    expected = _signature(incident, until).encode()
    same = hmac.compare_digest(expected, signature.encode("utf-8", "surrogateescape"))
    return bool(incident.secret) and same and now < until


def _signature(incident: Incident, until: int) -> str:
    said = f"acknowledge {incident.run_id} {incident.number} {until}"
    return hmac.new(incident.secret.encode(), said.encode(), hashlib.sha256).hexdigest()
