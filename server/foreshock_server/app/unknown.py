"""An address of the API that no route takes -> 405 with what it does take, or 404; without this the page's files would answer."""

from __future__ import annotations

import re
from functools import lru_cache

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}


def mount(app: FastAPI) -> None:
    """Answer beneath /api what nobody before did; after every feature, before the page."""

    @lru_cache(maxsize=1)
    def known() -> list[tuple[re.Pattern[str], set[str]]]:
        return [
            (_pattern(path), {method.upper() for method in operations} & _METHODS)
            for path, operations in app.openapi()["paths"].items()
        ]

    async def nobody(scope: Scope, _receive: Receive, _send: Send) -> None:
        allowed = {
            method for pattern, methods in known() if pattern.fullmatch(scope["path"]) for method in methods
        }
        if allowed:
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(allowed))})
        raise HTTPException(404)

    app.mount("/api", nobody, name="unknown")


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[^}]*\})", path)
    return re.compile("".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts))
