"""Settings -> the application, with every feature's routes under /api/v1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from foreshock_server.app import answers, health, page
from foreshock_server.app.edge import Edge
from foreshock_server.auth import endpoint as session
from foreshock_server.auth.gate import Gate
from foreshock_server.bus import open_bus
from foreshock_server.db import Database
from foreshock_server.figures import endpoint as figures
from foreshock_server.ingest import endpoint as ingest
from foreshock_server.notify import endpoint as notify
from foreshock_server.query import alerts, live, verdict
from foreshock_server.query import endpoint as query
from foreshock_server.query.leads import Leads
from foreshock_server.query.live import Listeners
from foreshock_server.reference import endpoint as reference
from foreshock_server.rules import endpoint as rules
from foreshock_server.rules.load import RuleSet
from foreshock_server.settings import Settings

FEATURES = (
    session.router,
    ingest.router,
    query.router,
    live.router,
    alerts.router,
    verdict.router,
    figures.router,
    rules.router,
    notify.router,
    reference.router,
)


def create_app(settings: Settings) -> FastAPI:
    """The whole service over its own database and bus; workers are not part of it.

    `app.state` holds settings, database, bus, rules (the loaded packs), leads and listeners.
    """
    database = Database(settings.url)
    bus = open_bus(settings.redis_url)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.listeners.open()
        yield
        app.state.listeners.close()
        bus.close()
        database.close()

    app = FastAPI(
        title="Foreshock",
        description="A live collapse monitor for PyTorch training.",
        version=_version(),
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads from another host; see page.docs
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.database = database
    app.state.bus = bus
    app.state.rules = RuleSet.load(settings)
    app.state.leads = Leads()
    app.state.listeners = Listeners(bus)
    for router in FEATURES:
        app.include_router(router, prefix="/api/v1")
    app.include_router(health.router)
    page.mount(app)  # last: what nobody else knows may be a file of the page
    answers.install(app)
    # The last one added meets a request first: bounds and headers, then the key, then compression.
    app.add_middleware(GZipMiddleware, minimum_size=2048, compresslevel=4)
    app.add_middleware(Gate, settings=settings)
    app.add_middleware(Edge, limit=settings.max_block_bytes)
    return app


def _version() -> str:
    try:
        return version("foreshock")
    except PackageNotFoundError:  # run from a checkout
        return "0"
