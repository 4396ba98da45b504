"""Paths of the REST API -> answers: kept-alive connections, the key, and every failure as one ForeshockError."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from foreshock.config import Config

from .errors import ForeshockError, refusal

CONNECT_SECONDS = 5.0
READ_SECONDS = 120.0  # between two pieces of an answer: a server may think long about a large one
_PIECE = 2**20  # bytes of a file that is read


class Connection:
    """A server, as programs reach it. `url` and `api_key` default to FORESHOCK_URL and FORESHOCK_API_KEY."""

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        config = Config.resolve(url=url, api_key=api_key)
        self.url = config.url
        self._headers = {"User-Agent": "foreshock-client"}
        if config.api_key:
            self._headers["Authorization"] = f"Bearer {config.api_key}"
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(CONNECT_SECONDS, READ_SECONDS))

    def json(self, path: str, query: Any = ()) -> dict[str, Any]:
        """What GET answers, read."""
        answer: dict[str, Any] = json.loads(self.get(path, query))
        return answer

    def get(self, path: str, query: Any = (), accept: str = "application/json") -> bytes:
        """What GET answers."""
        return self.request("GET", path, query, {"Accept": accept})

    def send(self, method: str, path: str, wish: Mapping[str, Any]) -> dict[str, Any]:
        """A wish as JSON -> what is answered, read."""
        answer: dict[str, Any] = json.loads(self.request(method, path, body=json.dumps(wish).encode()))
        return answer

    def request(
        self,
        method: str,
        path: str,
        query: Any = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> bytes:
        """The whole body of an answer of status 200 or 201; else ForeshockError."""
        if body is not None:
            headers = {"Content-Type": "application/json", **(headers or {})}
        answer = self._open(method, path, query, headers, body)
        try:
            return answer.read()
        except urllib3.exceptions.HTTPError as error:
            raise self._nobody(error) from error
        finally:
            answer.release_conn()

    def save(self, path: str, place: Path, query: Any = ()) -> Path:
        """What GET answers, piece by piece into a file, which is there when it is whole."""
        answer = self._open("GET", path, query, {"Accept": "*/*"})
        unfinished = place.with_name(f".{place.name}.part")
        try:
            with unfinished.open("wb") as file:
                for piece in answer.stream(_PIECE):
                    file.write(piece)
            unfinished.replace(place)
        except urllib3.exceptions.HTTPError as error:
            raise ForeshockError(f"The connection broke off while {place.name} was read: {error}.") from error
        finally:
            answer.release_conn()
            unfinished.unlink(missing_ok=True)
        return place

    def lines(self, path: str, query: Any, silence: float) -> Iterator[str]:
        """The lines of an answer that goes on, as they come; ForeshockError when it breaks off or says nothing for so many seconds."""
        answer = self._open("GET", path, query, {"Accept": "text/event-stream"}, silence=silence)
        rest = b""
        try:
            for piece in answer.stream(2**16, decode_content=True):
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    yield line.decode("utf-8", "replace").rstrip("\r")
        except urllib3.exceptions.HTTPError as error:
            raise self._nobody(error) from error
        finally:
            answer.close()  # the stream has no end of its own: this connection serves nobody else
            answer.release_conn()

    def close(self) -> None:
        """Let go of connections."""
        self._pool.clear()

    def _open(
        self,
        method: str,
        path: str,
        query: Any = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        silence: float = READ_SECONDS,
    ) -> urllib3.BaseHTTPResponse:
        """An answer of status 200 or 201 whose body is still to be read; else ForeshockError."""
        asked = f"{self.url}/api/v1{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            answer = self._pool.request(
                method,
                asked,
                body=body,
                headers={**self._headers, **(headers or {})},
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(CONNECT_SECONDS, silence),
                retries=urllib3.Retry(1 if method == "GET" else 0, connect=0, redirect=0),
            )
            if answer.status in (200, 201):
                return answer
            said = answer.read()
        except urllib3.exceptions.HTTPError as error:
            raise self._nobody(error) from error
        answer.release_conn()
        raise refusal(self.url, answer.status, said)

    def _nobody(self, error: Exception) -> ForeshockError:
        reason = getattr(error, "reason", None) or error
        return ForeshockError(
            f"No Foreshock server answers at {self.url} ({reason}). Is `foreshock serve` running there?"
        )
