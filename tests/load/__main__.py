"""`python -m tests.load --runs 200 --series 500 --seconds 600`: simulated runs against a server of our own -> build/load.json and a verdict.

On SQLite; with FORESHOCK_DATABASE_URL (migrated, empty) on that database.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from tests.bench import machine
from tests.bench.processes import usage
from tests.bench.report import quantile
from tests.bench.service import Server, serving
from tests.load.growth import growth
from tests.load.looking import looking

from foreshock_server.db import Database
from foreshock_server.models import Run, Writer

EVERY = 1.0  # seconds between samples
BEHIND = 5.0  # seconds that a step may be sent late, by whatever holds its trainer up for a moment
OPENED = 5000.0  # milliseconds until the first chart of a run, in the median of the visits
PAGE_EVERY = 3  # samples between looks at the page's requests
PAGE = ("/runs?limit=50", "/runs/load-0000", "/runs/load-0000/verdict", "/runs/load-0000/figures")


def main() -> int:
    """0 when nothing was lost and neither memory nor lag grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=600.0, help="of steps, one a second in each run")
    parser.add_argument("--browser", action="store_true", help="open a run's page in Chromium meanwhile")
    parser.add_argument(
        "--out", type=Path, default=Path("build/load.json"), help="the file (default: %(default)s)"
    )
    chosen = parser.parse_args()
    date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    about = machine.describe()
    with (
        tempfile.TemporaryDirectory(prefix="load-", ignore_cleanup_errors=True) as folder,
        serving(Path(folder) / "server") as server,
        looking(server, "load-0000", chosen.browser) as visits,
    ):
        told, samples, settled = _load(server, chosen.runs, chosen.series, chosen.seconds)
    result = _judged(told, samples, settled, chosen.series)
    if visits:
        result["numbers"]["open a run until its first chart, Chromium, p50 (ms)"] = quantile(visits, 0.5)
        result["numbers"]["open a run until its first chart, Chromium, max (ms)"] = max(visits)
        if quantile(visits, 0.5) > OPENED:
            result["problems"].append(
                f"half the visits waited more than {OPENED:.0f} ms for their first chart"
            )
    elif chosen.browser:
        result["problems"].append("no visit saw a chart")
    asked = {"runs": chosen.runs, "series": chosen.series, "seconds": chosen.seconds}
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    whole = {"machine": about, "date": date, "asked": asked, **result, "samples": samples}
    chosen.out.write_text(json.dumps(whole, indent=1) + "\n")
    for name, value in result["numbers"].items():
        print(f"{name:<56}{value:.6g}")
    for problem in result["problems"]:
        print(f"PROBLEM: {problem}")
    print("verdict:", "holds" if not result["problems"] else "does not hold", f"({chosen.out})")
    return 1 if result["problems"] else 0


def _load(
    server: Server, runs: int, series: int, seconds: float
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """What the trainers told and what else failed, a sample a second meanwhile, and how things stood once the server had caught up."""
    database = Database(
        os.environ.get("FORESHOCK_DATABASE_URL") or f"sqlite:///{server.data_dir / 'foreshock.db'}"
    )
    command = [sys.executable, "-m", "tests.load.trainers", server.url, str(runs), str(series), str(seconds)]
    samples: list[dict[str, Any]] = []
    failures: list[str] = []
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        trainers = subprocess.Popen(command, stdout=said)
        try:
            while trainers.poll() is None:
                at = time.monotonic()
                page = _page(server, failures) if samples and len(samples) % PAGE_EVERY == 0 else None
                samples.append({"at": at - began, **_used(server), **_lag(database), "page_ms": page})
                time.sleep(max(0.0, EVERY - (time.monotonic() - at)))
        finally:
            trainers.kill()
            trainers.wait()
        if trainers.returncode:
            raise SystemExit(f"the trainers ended with status {trainers.returncode}")
        said.seek(0)
        told = json.load(said)
    ended = time.monotonic()
    while (left := _lag(database))["evaluation_lag"] + left["tally_lag"] and time.monotonic() < ended + 60:
        time.sleep(0.5)
    settled = {
        **left,
        "seconds": time.monotonic() - ended,
        "points": _points(database),
        "cpu": usage(server.pid).cpu,
    }
    database.close()
    told["failures"] += failures
    return told, samples, settled


def _judged(
    told: dict[str, Any], samples: list[dict[str, Any]], settled: dict[str, Any], series: int
) -> dict[str, Any]:
    times = [one["at"] for one in samples]
    spent = [milliseconds for _, milliseconds in told["latencies"]]
    pages = [one["page_ms"] for one in samples if one["page_ms"]]
    span = times[-1] - times[0]
    numbers = {
        "blocks acknowledged": told["sent"],
        "answers 429 or 503": told["refused"],
        "ingest latency p50 (ms)": quantile(spent, 0.5),
        "ingest latency p99 (ms)": quantile(spent, 0.99),
        "ingest latency max (ms)": max(spent),
        "most that a step was sent late (s)": told["behind"],
        "server CPU (cores)": (samples[-1]["cpu"] - samples[0]["cpu"]) / span,
        "server RSS at the end (MiB)": samples[-1]["rss"] / 2**20,
        "seconds until all was evaluated and counted": settled["seconds"],
        "blocks not sealed at the end": settled["sealing_lag"],
    }
    if pages:
        numbers |= {
            f"GET {path} {name} (ms)": quantile([one[path] for one in pages], share)
            for path in PAGE
            for name, share in (("p50", 0.5), ("p99", 0.99))
        }
    problems = [f"a request failed: {one}" for one in told["failures"]]
    if settled["points"] != told["sent"] * series:
        problems.append(
            f"{told['sent'] * series} readings were acknowledged and {settled['points']} are stored"
        )
    if settled["evaluation_lag"] or settled["tally_lag"]:
        problems.append(f"after a minute of rest not all is evaluated and counted: {settled}")
    for name, least, unit in (
        ("rss", 48 * 2**20, "bytes"),
        ("evaluation_lag", 5, "blocks of the run that is furthest behind"),
        ("tally_lag", 15, "blocks of the run that is furthest behind"),
    ):
        grown = growth(times, [one[name] for one in samples])
        numbers[f"growth of {name}"] = grown.by
        if grown.exceeds(0.1, least):
            problems.append(f"{name} grew by {grown.by:.0f} {unit}, its middle is {grown.level:.0f}")
    if told["behind"] > BEHIND:
        problems.append(
            f"trainers ran up to {told['behind']:.0f} s behind their clock: the load was not carried"
        )
    late = growth([at for at, _ in told["latencies"]], spent)
    numbers["growth of ingest latency (ms)"] = late.by
    if late.exceeds(1.0, 20.0):
        problems.append(f"the latency of ingest grew by {late.by:.0f} ms, its middle is {late.level:.0f} ms")
    return {"numbers": numbers, "problems": problems, "settled": settled}


def _used(server: Server) -> dict[str, float]:
    now = usage(server.pid)
    return {"cpu": now.cpu, "rss": now.rss}


def _lag(database: Database) -> dict[str, int]:
    """Blocks that the writer which is furthest behind has before the rules, before the counting, and before the sealing."""
    behind = [
        func.coalesce(func.max(Writer.acked_seq - cursor), 0)
        for cursor in (Writer.evaluated_seq, Writer.tallied_seq, Writer.sealed_seq)
    ]
    with database.reading() as session:
        found = session.execute(select(*behind)).one()
    return dict(zip(("evaluation_lag", "tally_lag", "sealing_lag"), map(int, found), strict=True))


def _points(database: Database) -> int:
    with database.reading() as session:
        return int(session.scalar(select(func.sum(Run.points))) or 0)


def _page(server: Server, failures: list[str]) -> dict[str, float]:
    """Milliseconds of each request that the page makes when somebody looks at a run; nothing when one is not answered."""
    spent = {}
    for path in PAGE:
        began = time.perf_counter()
        try:
            with urllib.request.urlopen(f"{server.url}/api/v1{path}", timeout=60) as answer:
                answer.read()
        except OSError as error:
            said = error.read(300).decode() if isinstance(error, urllib.error.HTTPError) else ""
            failures.append(f"GET {path}: {error} {said}")
            return {}
        spent[path] = (time.perf_counter() - began) * 1e3
    return spent


if __name__ == "__main__":
    sys.exit(main())
