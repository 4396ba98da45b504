"""One HTTP POST within a deadline: returns when the receiver took it, else NotDelivered says whether to try again."""

from __future__ import annotations

import email.utils
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from email.message import Message

from urllib3.util import Url, parse_url

from foreshock_server.notify.channel import NotDelivered

DEADLINE = 10.0  # seconds for everything: resolving, connecting, TLS, sending, the answer
CONNECT = 5.0
ANSWER_BYTES = 2048  # of the receiver's answer; the rest is not read
_SHOWN = 200  # characters of it that an error repeats


def post(url: str, body: bytes, headers: Mapping[str, str], deadline: float = DEADLINE) -> None:
    """Send the body once. No redirect is followed: an alert goes where it was told to, and nowhere else.

    By the standard library's client: urllib3 logs addresses, and the address of a hook is its secret.
    """
    target = parse_url(url)
    watchdog = _Watchdog(deadline)
    with watchdog:
        try:
            connection = _connect(target, watchdog)
            connection.request("POST", target.request_uri, body, dict(headers))
            response = connection.getresponse()
            answer = response.read(ANSWER_BYTES)
            status, fields = response.status, response.headers
        except (OSError, http.client.HTTPException) as error:
            raise NotDelivered(_what_went_wrong(error, target, watchdog)) from error
    if watchdog.barked:  # the answer was cut off by us, wherever it was
        raise NotDelivered(_what_went_wrong(None, target, watchdog))
    if not 200 <= status < 300:
        raise _refusal(target, status, fields, answer)


class _Watchdog:
    """Ends a connection at the deadline: socket timeouts start anew with each byte, so a dripping answer passes them."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.barked = False
        self._sock: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(deadline, self._bark)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def guard(self, sock: socket.socket) -> None:
        """The socket to end; TimeoutError if it is too late already, since resolving a name has no limit of its own."""
        with self._lock:
            self._sock = sock
            if self.barked:
                raise TimeoutError

    def _bark(self) -> None:
        with self._lock:
            self.barked = True
            if self._sock is None:
                return
            try:
                # The plain method: SSLSocket's own also drops its state under the feet of the thread that reads.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
            except OSError:
                pass  # not connected any more

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            if self._sock is not None:
                self._sock.close()


def _connect(target: Url, watchdog: _Watchdog) -> http.client.HTTPConnection:
    """A connection whose every byte, those of the TLS handshake too, the watchdog can end."""
    host = (target.host or "").strip("[]")
    secure = target.scheme == "https"
    sock = socket.create_connection((host, target.port or (443 if secure else 80)), CONNECT)
    watchdog.guard(sock)
    sock.settimeout(watchdog.deadline)
    if not secure:
        connection = http.client.HTTPConnection(host, target.port)
        connection.sock = sock
        return connection
    context = ssl.create_default_context()
    wrapped = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    watchdog.guard(wrapped)
    wrapped.do_handshake()
    connection = http.client.HTTPSConnection(host, target.port, context=context)
    connection.sock = wrapped
    return connection


def _refusal(target: Url, status: int, fields: Message, answer: bytes) -> NotDelivered:
    said = " ".join(answer.decode("utf-8", "replace").split())
    said = "".join(character for character in said if character.isprintable())[:_SHOWN]
    sentence = f"{target.host} answered {status}" + (f": {said}" if said else "")
    if 300 <= status < 400:
        where = parse_url(fields.get("location", "")).host or "another address"
        return NotDelivered(
            f"{target.host} answered {status}, redirecting to {where}; give the channel the final address",
            refused=True,
        )
    if status == 410:
        return NotDelivered(sentence, permanent=True)
    transient = status >= 500 or status in (408, 425, 429)
    return NotDelivered(sentence, retry_after=_retry_after(fields.get("retry-after")), refused=not transient)


def _retry_after(field: str | None) -> float | None:
    """Seconds, from either form that HTTP allows."""
    if not field:
        return None
    if field.strip().isdigit():
        return float(field)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(field).timestamp() - time.time())
    except ValueError:
        return None


def _what_went_wrong(error: Exception | None, target: Url, watchdog: _Watchdog) -> str:
    """A sentence with the host and without the path, which may be a secret."""
    if watchdog.barked or error is None or isinstance(error, TimeoutError):
        return f"{target.host} did not answer within {watchdog.deadline:g} s"
    return f"{target.host}: {error or type(error).__name__}"
