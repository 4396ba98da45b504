"""The page's files, the plotly.js that the plotly package carries, and a plain list of the API. No other host is ever asked."""

from __future__ import annotations

import gzip
import html
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from plotly.offline import get_plotlyjs, get_plotlyjs_version
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from foreshock_server.app.samples import BEGIN, SAMPLES

router = APIRouter(include_in_schema=False)

READ = ["GET", "HEAD"]
FOREVER = "public, max-age=31536000, immutable"
STATIC = Path(str(files("foreshock_web"))) / "static"


class _Files(StaticFiles):
    """Our own modules: checked for a change at each use, by their ETag, so that an upgrade is never half old."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def mount(app: FastAPI) -> None:
    """Serve the page beneath everything else."""
    app.include_router(router)
    app.mount("/", _Files(directory=STATIC), name="page")


@router.api_route("/", methods=READ)
@router.api_route("/login", methods=READ)
@router.api_route("/runs", methods=READ)
@router.api_route("/runs/{rest:path}", methods=READ)
@router.api_route("/compare", methods=READ)
@router.api_route("/incidents", methods=READ)
@router.api_route("/incidents/{run}/{number}", methods=READ)
@router.api_route("/alerts", methods=READ)
@router.api_route("/rules", methods=READ)
@router.api_route("/rules/{rest:path}", methods=READ)
@router.api_route("/reference", methods=READ)
@router.api_route("/reference/{rest:path}", methods=READ)
@router.api_route("/settings", methods=READ)
def index() -> FileResponse:
    """Every address of the page is the same file; it reads the address itself."""
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


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
