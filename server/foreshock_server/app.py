"""Settings -> the application; the only place that knows all the features."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError

from foreshock_server.bus import LocalBus
from foreshock_server.db import Database
from foreshock_server.errors import DatabaseAway, DomainError
from foreshock_server.settings import Settings

_ROUTERS = [
    "ingest.endpoint",
    "query.endpoint",
    "query.alerts",
    "query.verdict",
    "query.live",
    "rules.endpoint",
    "notify.endpoint",
    "figures.endpoint",
    "auth.endpoint",
]


def create_app(settings: Settings) -> FastAPI:
    """The whole service over its own database; workers are not part of it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.bus.close()
        app.state.database.close()

    app = FastAPI(title="Foreshock", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.settings = settings
    app.state.database = Database(settings.url)
    app.state.bus = LocalBus()
    for name in _ROUTERS:  # TEMPORARY, while the features are being written: plain imports at the end
        package = f"foreshock_server.{name.split('.')[0]}"
        if importlib.util.find_spec(package) and importlib.util.find_spec(f"foreshock_server.{name}"):
            module = importlib.import_module(f"foreshock_server.{name}")
            if hasattr(module, "router"):
                app.include_router(module.router, prefix="/api/v1")

    @app.exception_handler(DomainError)
    async def _domain(_request: Request, error: DomainError) -> JSONResponse:
        headers = {} if error.retry_after is None else {"Retry-After": f"{error.retry_after:g}"}
        return JSONResponse(error.body(), error.status, headers)

    @app.exception_handler(OperationalError)
    async def _away(_request: Request, _error: OperationalError) -> JSONResponse:
        return JSONResponse(DatabaseAway().body(), 503, {"Retry-After": "2"})

    return app
