"""What happens in this process -> counters, gauges and histograms, all made here, in a registry of the application's own.

Base units (seconds, bytes), counters end in `_total`, and no label takes a value that a caller can choose: a route is its
template, a status its number.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series per counter that nobody asks for

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Instruments:
    """One per application; several may live in one process."""

    def __init__(self, version: str) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        build = Gauge(
            "foreshock_build_info", "This release, always 1.", ["version", "python"], registry=registry
        )
        build.labels(version, platform.python_version()).set(1)
        started = Gauge(
            "foreshock_start_time_seconds", "When this application was made, since 1970.", registry=registry
        )
        started.set(time.time())

        self.requests = Counter(
            "foreshock_http_requests", "Answers sent.", ["method", "route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "foreshock_http_request_duration_seconds",
            "From the first byte of a request to the last of its answer; live streams left out.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.requests_in_course = Gauge(
            "foreshock_http_requests_in_progress",
            "Requests in course, live streams included.",
            registry=registry,
        )

        outcome = ["outcome"]  # stored, known, refused, throttled, away, failed
        self.ingest_requests = Counter(
            "foreshock_ingest_requests", "Requests that brought blocks.", outcome, registry=registry
        )
        self.ingest_blocks = Counter(
            "foreshock_ingest_blocks", "Blocks that these requests brought, as far as they could be read.",
            outcome, registry=registry,
        )  # fmt: skip
        self.ingest_points = Counter(
            "foreshock_ingest_points", "Readings in these blocks.", outcome, registry=registry
        )
        self.ingest_bytes = Counter(
            "foreshock_ingest_bytes",
            "Bytes of these requests, as they travelled.",
            outcome,
            registry=registry,
        )
        self.ingest_seconds = Histogram(
            "foreshock_ingest_duration_seconds",
            "From the first byte of a block to its durable acknowledgement.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._queue_blocks = Gauge(
            "foreshock_ingest_queue_blocks", "Blocks that wait for the committer.", registry=registry
        )
        self._queue_bytes = Gauge(
            "foreshock_ingest_queue_bytes",
            "Bytes of the blocks that wait for the committer.",
            registry=registry,
        )
        self._queue_age = Gauge(
            "foreshock_ingest_queue_age_seconds", "How long the oldest of these waits.", registry=registry
        )

        self.database_errors = Counter(
            "foreshock_database_errors", "Errors of the database, by class.", ["kind"], registry=registry
        )
        self._listeners = Gauge(
            "foreshock_live_clients", "Open live streams of this process.", registry=registry
        )

    def queue(self, blocks: Callable[[], float], size: Callable[[], float], age: Callable[[], float]) -> None:
        """Where to read what waits for the committer: blocks, bytes, and seconds of the oldest."""
        self._queue_blocks.set_function(blocks)
        self._queue_bytes.set_function(size)
        self._queue_age.set_function(age)

    def listeners(self, count: Callable[[], float]) -> None:
        """Where to read how many live streams are open."""
        self._listeners.set_function(count)

    def stages(self, stages: Sequence[Stage]) -> None:
        """Count the rounds of these."""
        self.add(_Stages(stages))

    def add(self, collector: Collector) -> None:
        """Collect what another room knows, such as what the database counts."""
        self.registry.register(collector)


class Stage(Protocol):
    """What works in the background of this process, round by round."""

    name: str
    rounds: int  # that ended well
    failed_rounds: int


class _Stages(Collector):
    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = stages

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        rounds = CounterMetricFamily(
            "foreshock_stage_rounds", "Rounds of a stage that ended well.", labels=["stage"]
        )
        failures = CounterMetricFamily(
            "foreshock_stage_failures", "Rounds of a stage that failed.", labels=["stage"]
        )
        for stage in self._stages:
            rounds.add_metric([stage.name], stage.rounds)
            failures.add_metric([stage.name], stage.failed_rounds)
        yield rounds
        yield failures
