"""One HTTP POST within a deadline: returns what the receiver said when it took it, else NotDelivered says whether to try again."""

from __future__ import annotations

import email.utils
import http.client
import json
import time
from collections.abc import Mapping
from email.message import Message
from typing import Any

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from foreshock_server.notify.channel import Answer, NotDelivered, sayable
from foreshock_server.notify.reach import Watchdog, Way, connect, secured

ANSWER_BYTES = 2048  # of the receiver's answer, unless the channel wants more; the rest is not read


def post(url: str, body: bytes, headers: Mapping[str, str], way: Way, *, read: int = ANSWER_BYTES) -> Answer:
    """Send the body once, and read so much of what is said. No redirect is followed: an alert goes where it was told to, and nowhere else.

    By the standard library's client: urllib3 logs addresses, and the address of a hook is its secret.
    """
    target = parse_url(url)
    watchdog = Watchdog(way.deadline)
    with watchdog:
        try:
            connection = _connect(target, way, watchdog)
            connection.request("POST", target.request_uri, body, dict(headers))
            response = connection.getresponse()
            answer = response.read(read)
            status, fields = response.status, response.headers
        except (OSError, http.client.HTTPException) as error:
            raise NotDelivered(watchdog.sentence(error, target.host)) from error
    if watchdog.barked:  # the answer was cut off by us, wherever it was
        raise NotDelivered(watchdog.sentence(None, target.host))
    said = Answer(status, sayable(answer), body=answer)
    if not 200 <= status < 300:
        raise _refusal(target, fields, said)
    return said


def post_json(
    url: str,
    payload: Any,
    way: Way,
    headers: Mapping[str, str] | None = None,
    *,
    read: int = ANSWER_BYTES,
) -> Answer:
    """Send the payload as UTF-8, and say so: Teams counts two bytes a character otherwise."""
    return post(
        url,
        encoded(payload),
        {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "foreshock",
            **(headers or {}),
        },
        way,
        read=read,
    )


def encoded(payload: Any) -> bytes:
    """Standard JSON in UTF-8; half a surrogate pair, which it cannot hold, becomes a question mark."""
    return json.dumps(payload, allow_nan=False, ensure_ascii=False).encode("utf-8", "replace")


def _connect(target: Url, way: Way, watchdog: Watchdog) -> http.client.HTTPConnection:
    """A connection whose every byte, those of the TLS handshake too, the watchdog can end."""
    host = (target.host or "").strip("[]")
    secure = target.scheme == "https"
    usual = 443 if secure else 80
    connection = http.client.HTTPConnection(host, target.port or usual)
    connection.default_port = usual  # which the header `Host` leaves out
    sock = connect(host, target.port or usual, way, watchdog)
    connection.sock = secured(sock, host, watchdog) if secure else sock
    return connection


def _refusal(target: Url, fields: Message, answer: Answer) -> NotDelivered:
    status = answer.status or 0
    sentence = f"{target.host} answered {status}" + (f": {answer.said}" if answer.said else "")
    if 300 <= status < 400:
        return NotDelivered(
            f"{target.host} answered {status}, redirecting to {_host_of(fields)}; give the channel the final address",
            refused=True,
            answer=answer,
        )
    if status == 410:
        return NotDelivered(sentence, permanent=True, answer=answer)
    transient = status >= 500 or status in (408, 425, 429)
    return NotDelivered(
        sentence, retry_after=_retry_after(fields.get("retry-after")), refused=not transient, answer=answer
    )


def _host_of(fields: Message) -> str:
    try:
        return parse_url(fields.get("location", "")).host or "another address"
    except LocationParseError:
        return "another address"


def _retry_after(field: str | None) -> float | None:
    """Seconds, from either form that HTTP allows, and with the fraction that Discord adds."""
    if not field:
        return None
    if field.strip().replace(".", "", 1).isdecimal():
        return float(field)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(field).timestamp() - time.time())
    except ValueError:
        return None
