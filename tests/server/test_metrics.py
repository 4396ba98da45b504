"""/metrics follows Prometheus' rules, counts what happened, and answers when the database does not."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from foreshock_server.app import backlog, create_app
from foreshock_server.models import Delivery, Writer

BASE_UNITS = ("seconds", "bytes", "info", "total", "ratio")
NOT_BASE = ("milliseconds", "ms", "minutes", "hours", "days", "kilobytes", "megabytes", "kb", "mb", "percent")


def scraped(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Sample name and labels -> value."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(samples: dict[Any, float], name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@pytest.fixture(autouse=True)
def every_look_is_new(monkeypatch):
    monkeypatch.setattr(backlog, "KEEP", 0.0)


def test_every_family_follows_the_rules_of_promtool(client, trainer, wire):
    trainer.send(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["a"])])
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(answer.text))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert re.fullmatch(r"(foreshock|process)_[a-z0-9_]+", family.name)
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "histogram")
        assert not set(family.name.split("_")) & set(NOT_BASE)
        assert family.type not in family.name
        written = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"# HELP {written} " in answer.text
        assert f"# TYPE {written} {family.type}" in answer.text
        if family.type != "counter":
            assert not family.name.endswith("_total")
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_bytes"))
        for sample in family.samples:
            assert all(re.fullmatch(r"[a-z_]+", label) for label in sample.labels)
            assert not sample.name.endswith("_created")


def test_openmetrics_when_asked(client):
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.rstrip().endswith("# EOF")


@pytest.mark.parametrize("version", ["x", "1.x", "1.0.x", "2.0.x", "", "9" * 5000, "1.0.0;version=x"])
@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
def test_a_version_that_is_none_is_answered_in_a_format_that_we_have(client, kind, version):
    answer = client.get("/metrics", headers={"Accept": f"{kind};version={version};escaping=x"})
    assert answer.status_code == 200
    assert "foreshock_build_info" in answer.text


def test_ingest_is_counted_by_its_outcome(client, trainer, wire):
    block = trainer.block(1, [wire.rows(1, [1, 2], [[1, 1], [2, 2]])], [wire.frame(1, ["a", "b"])])
    sizes = [int(trainer.post(block).request.headers["content-length"]) for _ in range(2)]
    trainer.post({**block, "v": 7})
    samples = scraped(client)
    for outcome in ("stored", "known", "refused"):
        assert of(samples, "foreshock_ingest_requests_total", outcome=outcome) == 1
    assert of(samples, "foreshock_ingest_bytes_total", outcome="stored") == sizes[0]
    assert of(samples, "foreshock_ingest_blocks_total", outcome="stored") == 1
    assert of(samples, "foreshock_ingest_points_total", outcome="stored") == 4
    assert of(samples, "foreshock_ingest_points_total", outcome="known") == 0
    assert of(samples, "foreshock_ingest_duration_seconds_count") == 2
    assert of(samples, "foreshock_ingest_queue_blocks") == 0
    assert of(samples, "foreshock_points_stored", state="running") == 4


def test_requests_are_counted_by_route_and_never_by_address(client, trainer):
    for name in ("a", "b", "c"):
        client.get(f"/api/v1/runs/{name}")
        client.get(f"/nobody/knows/{name}")
        client.request(f"FOO{name}", "/api/v1/runs")
    samples = scraped(client)
    counted = {key: value for key, value in samples.items() if key[0] == "foreshock_http_requests_total"}
    assert (
        counted[
            "foreshock_http_requests_total",
            frozenset({("method", "GET"), ("route", "/api/v1/runs/{run}"), ("status", "404")}),
        ]
        == 3
    )
    assert (
        counted[
            "foreshock_http_requests_total",
            frozenset({("method", "GET"), ("route", "(other)"), ("status", "404")}),
        ]
        == 3
    )
    assert sum(value for (_, labels), value in counted.items() if ("method", "(other)") in labels) == 3
    routes = {dict(labels)["route"] for _, labels in counted}
    assert routes <= {"/api/v1/runs/{run}", "(other)", "/api/v1/runs"}


def test_what_waits_for_a_stage_is_counted_and_aged(client, trainer, wire, database):
    trainer.send(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["a"])])
    for seq in (2, 3, 4):
        trainer.send(seq, [wire.rows(1, [seq], [[1]])])
    with database.writing() as session:
        writer = session.get(Writer, ("run-1", 1, "r0-aaaa"))
        writer.evaluated_seq, writer.tallied_seq, writer.sealed_seq = 1, 4, 0
        session.execute(text("UPDATE blocks SET received_at = received_at - 100 WHERE seq = 2"))
    samples = scraped(client)
    lag = {stage: of(samples, "foreshock_stage_lag_blocks", stage=stage) for stage in backlog.CURSORS}
    assert lag == {"evaluation": 3, "tally": 0, "sealing": 4}
    assert 100 <= of(samples, "foreshock_stage_lag_seconds", stage="evaluation") < 1000
    assert of(samples, "foreshock_stage_lag_seconds", stage="tally") == 0
    # The first that waits for sealing came after the second was made older: the first counts.
    assert of(samples, "foreshock_stage_lag_seconds", stage="sealing") < 100


def test_deliveries_are_counted_and_aged(client, trainer, database):
    with database.writing() as session:
        now = 1_700_000_000.0
        for number, state in enumerate(["waiting", "waiting", "failed", "delivered"]):
            session.add(
                Delivery(
                    id=str(number),
                    run_id="run-1",
                    rule="r",
                    series_id=1,
                    episode=1,
                    kind="fired",
                    channel_id="c",
                    state=state,
                    tries=number + 1,
                    next_at=now,
                    created_at=now + number,
                )
            )
    samples = scraped(client)
    assert of(samples, "foreshock_deliveries", state="waiting") == 2
    assert of(samples, "foreshock_deliveries", state="failed") == 1
    assert of(samples, "foreshock_delivery_most_tries") == 2
    assert of(samples, "foreshock_delivery_oldest_seconds") > 1e6


def test_losses_name_the_worst_runs_and_sum_the_others(client, database):
    with database.writing() as session:
        for number in range(backlog.MOST_RUNS + 5):
            for writer in ("r0-a", "r1-b"):
                session.add(
                    Writer(
                        run_id=f"run-{number:03}",
                        attempt=1,
                        writer=writer,
                        dropped=number,
                        lost={},
                        cost={},
                        seen_at=0,
                    )
                )
    samples = scraped(client)
    named = {
        dict(labels)["run"]: value
        for (name, labels), value in samples.items()
        if name == "foreshock_run_dropped_readings"
    }
    assert len(named) == backlog.MOST_RUNS
    assert named["run-024"] == 48
    assert "run-004" not in named
    assert of(samples, "foreshock_other_runs_dropped_readings") == 2 * (1 + 2 + 3 + 4)


def test_a_database_that_is_gone_leaves_what_was_known(client, trainer, wire, monkeypatch):
    trainer.send(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["a"])])
    before = scraped(client)
    assert of(before, "foreshock_database_up") == 1

    def gone():
        raise OSError("gone")

    monkeypatch.setattr(client.app.state.database, "reading", gone)
    after = scraped(client)
    assert of(after, "foreshock_database_up") == 0
    assert of(after, "foreshock_points_stored", state="running") == 1
    assert of(after, "foreshock_database_look_age_seconds") > 0
    assert of(after, "foreshock_ingest_requests_total", outcome="stored") == 1


def test_several_applications_in_one_process_count_apart(migrated_url, settings):
    with TestClient(create_app(settings)) as one, TestClient(create_app(settings)) as other:
        one.get("/api/v1/runs")
        labels = {"method": "GET", "route": "/api/v1/runs", "status": "200"}
        assert of(scraped(one), "foreshock_http_requests_total", **labels) == 1
        assert ("foreshock_http_requests_total", frozenset(labels.items())) not in scraped(other)


def test_the_process_the_pool_and_the_release_are_there(client):
    samples = scraped(client)
    names = {name for name, _ in samples}
    assert {
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "foreshock_build_info",
        "foreshock_live_clients",
        "foreshock_ingest_queue_blocks",
        "foreshock_ingest_queue_age_seconds",
        "foreshock_merge_lag_blocks",
    } <= names
    assert of(samples, "foreshock_database_connections", state="in_use") == 0
