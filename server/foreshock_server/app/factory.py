"""Settings -> the application, with every feature's routes under /api/v1."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Depends, FastAPI
from fastapi.concurrency import run_in_threadpool
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute

from foreshock_server.app import answers, contract, health, once, page, unknown
from foreshock_server.app.backlog import Backlog
from foreshock_server.app.edge import Edge
from foreshock_server.app.readiness import Readiness, Waits
from foreshock_server.auth import endpoint as session
from foreshock_server.auth import key_endpoint as keys
from foreshock_server.auth.gate import Gate
from foreshock_server.auth.keyring import Keyring
from foreshock_server.auth.limits import Limits
from foreshock_server.bus import Bus, open_bus
from foreshock_server.db import Database
from foreshock_server.exchange import endpoint as exchange
from foreshock_server.figures import chart, installed
from foreshock_server.figures import compare_endpoint as compare
from foreshock_server.figures import endpoint as figures
from foreshock_server.incidents import endpoint as incidents
from foreshock_server.incidents import page as acknowledging
from foreshock_server.ingest import endpoint as ingest
from foreshock_server.ingest.receiving import Receiver
from foreshock_server.laws import endpoint as laws
from foreshock_server.lifecycle import endpoint as lifecycle
from foreshock_server.notify import endpoint as notify
from foreshock_server.query import alerts, heatmap, incident, live, verdict
from foreshock_server.query import endpoint as query
from foreshock_server.query.leads import Leads
from foreshock_server.query.live import Listeners
from foreshock_server.reference import endpoint as reference
from foreshock_server.rules import endpoint as rules
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.own import checking, proposal
from foreshock_server.rules.own import endpoint as own_rules
from foreshock_server.rules.own.book import Rulebook
from foreshock_server.rules.trial import endpoint as trial
from foreshock_server.settings import Settings
from foreshock_server.telemetry import Instruments
from foreshock_server.telemetry.requests import Watched

FEATURES = (
    session.router,
    keys.router,
    ingest.router,
    lifecycle.router,
    exchange.router,
    query.router,
    heatmap.router,
    laws.router,
    live.router,
    alerts.router,
    verdict.router,
    figures.router,
    compare.router,
    rules.router,
    own_rules.router,
    checking.router,
    proposal.router,
    incidents.router,
    incident.router,
    trial.router,
    notify.router,
    reference.router,
)


def create_app(settings: Settings, bus: Bus | None = None) -> FastAPI:
    """The whole service over its own database and this bus (default: as the settings say); workers are not part of it.

    `app.state` holds settings, database, bus, keyring, rules (the loaded packs), rulebook (those and what people made on the page), receiver (the way in), leads and listeners, and of telemetry:
    instruments, readiness (whoever runs something in the background adds it to its `parts`) and backlog.
    """
    database = Database(settings.url)
    bus = bus or open_bus(settings.redis_url)
    receiver = Receiver(database, bus.publish, settings.max_block_bytes)
    keyring = Keyring(database, settings.api_key.get_secret_value() if settings.api_key else None)
    limits = Limits(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.listeners.open()
        yield
        app.state.listeners.close()
        await run_in_threadpool(receiver.close)
        bus.close()
        await limits.close()
        await run_in_threadpool(keyring.close)
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
    app.state.keyring = keyring
    app.state.rules = RuleSet.load(settings)
    app.state.rulebook = Rulebook(app.state.rules)
    installed.register()
    app.state.receiver = receiver
    app.state.leads = Leads()
    app.state.listeners = Listeners(bus)
    app.state.instruments = instruments = Instruments(_version())
    app.state.readiness = Readiness(database, bus, settings, instruments)
    app.state.backlog = Backlog(database)
    instruments.add(app.state.backlog)
    committer = receiver.committer
    instruments.queue(committer.waiting, lambda: receiver.budget.used, committer.age)
    app.state.readiness.parts["committer"] = Waits("blocks wait for their commit", committer.age)
    instruments.listeners(lambda: len(app.state.listeners))
    app.router.routes.extend(_routes())
    unknown.mount(app)
    page.mount(app)  # last: what nobody else knows may be a file of the page
    answers.install(app)
    contract.install(app)
    # The last one added meets a request first: its id and log line, bounds and headers, then the key, then compression.
    app.add_middleware(GZipMiddleware, minimum_size=2048, compresslevel=4)
    app.add_middleware(Gate, settings=settings, database=database, keyring=keyring, limits=limits)
    app.add_middleware(Edge, limit=settings.max_block_bytes, frames=settings.frames)
    app.add_middleware(Watched, instruments=instruments, settings=settings, fault=answers.fault)
    return app


@cache
def _routes() -> Sequence[BaseRoute]:
    """Every feature's. They know no application, and FastAPI takes long to make them: once for all applications of a process."""
    router = APIRouter(
        dependencies=[Depends(once.said_once)],
        generate_unique_id_function=lambda route: route.name,  # operation ids that a generated client can use
    )
    for feature in FEATURES:
        router.include_router(feature, prefix="/api/v1")
    for feature in (health.router, acknowledging.router, chart.router):
        router.include_router(feature)
    return router.routes


@cache
def _version() -> str:
    try:
        return version("foreshock")
    except PackageNotFoundError:  # run from a checkout
        return "0"
