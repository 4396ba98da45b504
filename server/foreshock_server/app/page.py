"""The page's files, the plotly.js that the plotly package carries, and a plain list of the API. No other host is ever asked."""

from __future__ import annotations

import gzip
import html
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from plotly.offline import get_plotlyjs, get_plotlyjs_version

from foreshock_server.app import frame
from foreshock_server.app.files import Files
from foreshock_server.app.samples import BEGIN, SAMPLES
from foreshock_server.figures.sending import as_json
from foreshock_server.figures.style import empty

router = APIRouter(include_in_schema=False)

READ = ["GET", "HEAD"]
FOREVER = "public, max-age=31536000, immutable"
STATIC = Path(str(files("foreshock_web"))) / "static"


def _index(view: str | None) -> Callable[[Request], Response]:
    """Every address of the page is the same file, which reads the address itself; it says beforehand what its view is made of."""

    def index(request: Request) -> Response:
        """The page."""
        text, etag = frame.html(STATIC, view, plotly_address())
        headers = {"Cache-Control": "no-cache", "ETag": etag}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return HTMLResponse(text, headers=headers)

    return index


def mount(app: FastAPI) -> None:
    """Serve the page beneath everything else."""
    app.include_router(router)
    app.mount("/", Files(directory=STATIC), name="page")


for _address, _view in frame.VIEWS.items():
    router.add_api_route(_address, _index(_view), methods=READ)


@router.api_route("/assets/plotly.js", methods=READ)
def plotly_current() -> RedirectResponse:
    """The plotly.js in use, under an address that does not change with its version."""
    return RedirectResponse(plotly_address(), 307, {"Cache-Control": "no-cache"})


@router.api_route("/assets/plotly-{version}.min.js", methods=READ)
def plotly(request: Request, version: str) -> Response:
    """plotly.js, for good: its address names its version."""
    if version != get_plotlyjs_version():
        return RedirectResponse(plotly_address(), 307, {"Cache-Control": "no-cache"})
    plain, packed = _plotly()
    headers = {"Cache-Control": FOREVER, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(packed, media_type="text/javascript", headers={**headers, "Content-Encoding": "gzip"})
    return Response(plain, media_type="text/javascript", headers=headers)


def plotly_address() -> str:
    """Where the page finds plotly.js."""
    return f"/assets/plotly-{get_plotlyjs_version()}.min.js"


def prepare() -> None:
    """Do beforehand what the first visitor would wait for: pack plotly.js, and load what draws a figure with it."""
    _plotly()
    as_json(empty("light"))


@lru_cache(maxsize=1)
def _plotly() -> tuple[bytes, bytes]:
    plain = get_plotlyjs().encode()
    return plain, gzip.compress(plain, 6, mtime=0)


@router.api_route("/docs", methods=READ)
def docs(request: Request) -> HTMLResponse:
    """The API as a plain list: FastAPI's own page would load its scripts from another host."""
    schema: dict[str, Any] = request.app.openapi()
    rows = [
        f"<tr><td><code>{method.upper()}</code></td><td><code>{html.escape(path)}</code></td>"
        f"<td>{html.escape(operation.get('description', operation.get('summary', '')))}</td>"
        f"<td>{_parameters(operation)}{_sample(operation)}</td></tr>"
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    ]
    return HTMLResponse(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Foreshock API</title>"
        "<meta name=viewport content='width=device-width'>"
        "<style>body{font:15px/1.5 system-ui;margin:2rem auto;max-width:70rem;padding:0 1rem;color-scheme:light dark}"
        "td{padding:.3rem .6rem;vertical-align:top;border-top:1px solid #8884}table{border-collapse:collapse}pre{margin:0;white-space:pre-wrap}</style>"
        "<h1>Foreshock API</h1><p>The whole contract, for generators of clients: "
        "<a href='/openapi.json'>/openapi.json</a>. In a notebook:</p>"
        f"<pre>{html.escape(BEGIN)}</pre>"
        f"<table>{''.join(rows)}</table></html>"
    )


def _parameters(operation: dict[str, Any]) -> str:
    names = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
    return html.escape("?" + " &".join(f"{name}=" for name in names)) if names else ""


def _sample(operation: dict[str, Any]) -> str:
    lines = SAMPLES.get(operation["operationId"])
    return f"<pre>{html.escape(lines)}</pre>" if lines else ""
