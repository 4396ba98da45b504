"""One request -> one answer, or Undelivered: HTTP with a deadline over the whole exchange, however slowly a server talks."""

from __future__ import annotations

import email.utils
import encodings.idna  # noqa: F401 (a sender would import it when it first connects; who forks then has its lock held for ever)
import gzip
import http.client
import io
import json
import socket
import time
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

CONNECT_SECONDS = 3.0
REQUEST_SECONDS = 15.0
GZIP_ABOVE = 1024
LONGEST_ANSWER = 4 * 2**20


class Undelivered(Exception):
    """No answer came."""


@dataclass(frozen=True)
class Request:
    """What is sent; `path` follows the server's address."""

    method: str
    path: str
    body: bytes
    media_type: str = "application/json"
    checked: bool = False  # with a checksum: a number with a flipped bit is still a number


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)  # the JSON object; empty when there was none
    retry_after: float | None = None  # seconds


class Transport(Protocol):
    """Carries one request to the server and its answer back."""

    def exchange(self, request: Request, seconds: float = REQUEST_SECONDS) -> Answer:
        """The answer, whatever its status; raises Undelivered when there is none after these seconds."""

    def close(self) -> None:
        """Let go of connections."""


class HttpTransport:
    """Keep-alive HTTP to one server, through the proxy of the environment if there is one."""

    def __init__(self, url: str, api_key: str | None = None, *, user_agent: str = "foreshock") -> None:
        self._url = url.rstrip("/")
        self._headers = {"User-Agent": user_agent, "Accept": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._manager = _manager(self._url)
        # On this machine the bytes cost less than squeezing them: a block of noisy floats loses 5 % in 1.7 ms.
        self._compresses = not _is_local(self._url)

    def exchange(self, request: Request, seconds: float = REQUEST_SECONDS) -> Answer:
        headers = {**self._headers, "Content-Type": request.media_type}
        body = request.body
        if request.checked:
            headers["Foreshock-CRC32"] = f"{zlib.crc32(body):08x}"
        if self._compresses and len(body) > GZIP_ABOVE:
            body = gzip.compress(body, compresslevel=1)
            headers["Content-Encoding"] = "gzip"
        try:
            answer = self._manager.request(
                request.method,
                self._url + request.path,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), total=seconds),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                text = b""
                while len(text) <= LONGEST_ANSWER and (piece := answer.read(LONGEST_ANSWER + 1 - len(text))):
                    text += piece
            finally:
                if not answer.closed:  # not read to its end: such a connection cannot carry the next request
                    answer.close()
        except (urllib3.exceptions.HTTPError, OSError, http.client.HTTPException) as error:
            raise Undelivered(_sentence(error)) from error
        if len(text) > LONGEST_ANSWER:
            raise Undelivered(f"the answer was longer than {LONGEST_ANSWER} bytes")
        return Answer(answer.status, _json_object(text), _delay(answer.headers.get("Retry-After")))

    def close(self) -> None:
        self._manager.clear()


def _json_object(text: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _delay(header: str | None) -> float | None:
    """Retry-After, in seconds or as a date."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _sentence(error: BaseException) -> str:
    """What the system said, without the pools and objects that urllib3 wraps around it."""
    inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None) or error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _sentence(inner) if inner is not None else f"{type(error).__name__}: {error}"


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _manager(url: str) -> urllib3.PoolManager:
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not _is_local(url) and not urllib.request.proxy_bypass(host):
        manager: urllib3.PoolManager = urllib3.ProxyManager(proxy, num_pools=1, maxsize=1)
    else:
        manager = urllib3.PoolManager(num_pools=1, maxsize=1)
    manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return manager


# urllib3's timeouts bound each wait on the socket, so a server that sends one byte a second is never late. The classes
# below bound the sum: reading the answer, from its first byte to its last, ends when the socket's timeout, counted once
# from the moment the request was sent, has passed.


class _Clocked(io.RawIOBase):
    """The reading half of a socket, with one deadline for everything that is read."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self._raw = sock.makefile("rb", buffering=0)  # keeps the socket open while the answer is read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the server answers too slowly")
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _ClockedSocket:
    """What http.client asks of a socket in order to read an answer."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._deadline = time.monotonic() + (sock.gettimeout() or REQUEST_SECONDS)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Clocked(self._sock, self._deadline))


class _ClockedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(_ClockedSocket(sock), *arguments, **named)  # type: ignore[arg-type] # it only calls makefile


class _HttpConnection(HTTPConnection):
    response_class = _ClockedResponse

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(REQUEST_SECONDS)  # the time to connect is short, the time to send a body is not


class _HttpsConnection(HTTPSConnection):
    response_class = _ClockedResponse

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(REQUEST_SECONDS)


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection
