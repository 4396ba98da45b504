"""A real server, a run that a synthetic trainer feeds over the wire contract, and Chromium looking at it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Site:
    """`foreshock serve` as a process of its own, that can be killed and started again on the same port."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = environment
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Site:
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FORESHOCK_")}
        words = [
            "serve",
            "--port",
            str(self.port),
            "--data-dir",
            str(self.folder / "data"),
            "--ready-file",
            str(ready),
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "foreshock_server", *words],
                env={
                    **clean,
                    "FORESHOCK_PRIVATE_TARGETS": "all",
                    "FORESHOCK_SILENT_AFTER": "3600",  # its runs are written once, for tests that take minutes
                    **self.environment,
                },
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 60
        while not ready.exists():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, "the server did not get ready"
            time.sleep(0.02)
        self.port = int(ready.read_text().strip().rsplit(":", 1)[1].rstrip("/"))
        return self

    def end(self, how: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(20)

    def call(self, method: str, path: str, body: Any = None, key: str | None = None) -> Any:
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None


def _series(statistic: str, family: str, unit: str = "", **labels: str) -> dict[str, Any]:
    text = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    return {
        "key": f"{statistic}{{{text}}}" if labels else statistic,
        "statistic": statistic,
        "family": family,
        "place": labels.get("place", ""),
        "labels": labels,
        "unit": unit,
        "dtype": "f64",
    }


SERIES = [
    _series("policy_entropy", "policy entropy", "nat"),
    _series("policy_entropy_p05", "policy entropy", "nat"),
    _series("policy_entropy_p95", "policy entropy", "nat"),
    _series("policy_top1", "policy entropy", "share"),
    _series("zero_variance_groups", "RL signal", "share"),
    _series("reward_mean", "RL signal"),
    _series("effective_rank", "representation", "directions", place="blocks.1", centered="true"),
    _series("gradient_norm", "optimiser"),
    _series("foreshock_overhead", "monitor", "%"),
    _series("loss", "training"),
]
COLLAPSE_AT = 150


class Trainer:
    """One writer of one run: readings by step, healthy until COLLAPSE_AT if it collapses at all."""

    def __init__(
        self,
        site: Site,
        run: str,
        name: str,
        *,
        collapses: bool,
        project: str = "grpo-math",
        key: str | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        self.site, self.run, self.key, self.collapses = site, run, key, collapses
        self.seq = 0
        self.step = 0
        self.random = np.random.default_rng(3)
        body = {
            "project": project,
            "name": name,
            "config": {"lr": 1e-05} if config is None else config,
            "started_at": time.time() - 600,
            "attempt": 1,
            "writer": "r0-test",
            "info": {"host": "n17", "torch": "2.13.0"},
        }
        site.call("PUT", f"/runs/{run}", body, key)

    def send(self, steps: int, spoil: Callable[[np.ndarray], None] = lambda _values: None) -> None:
        """The next `steps` steps as one block; `spoil` may change values[step, series]."""
        at = np.arange(self.step, self.step + steps)
        left = np.exp(-np.maximum(at - COLLAPSE_AT, 0) / 60) if self.collapses else np.ones(steps)
        noise = np.exp(self.random.normal(0, 0.03, (steps, len(SERIES))))
        scale = np.array([0.8, 0.05, 2.2, 0.6, 0.2, 0.5, 40.0, 1.0, 0.7, 2.0])
        values = scale * noise
        for falling in (0, 1, 2):
            values[:, falling] *= left
        spoil(values)
        self.seq += 1
        flat = [
            x if np.isfinite(x) else "NaN" if np.isnan(x) else "Infinity" for x in values.ravel().tolist()
        ]
        self.site.call(
            "POST",
            f"/runs/{self.run}/blocks",
            {
                "v": 1,
                "attempt": 1,
                "writer": "r0-test",
                "seq": self.seq,
                "frames": [{"frame": 1, "series": SERIES}],
                "rows": [{"frame": 1, "steps": at.tolist(), "times": [time.time()] * steps, "values": flat}],
                "dropped": 0,
            },
            self.key,
        )
        self.step += steps

    def firing(self) -> list[Any]:
        alerts = self.site.call("GET", f"/runs/{self.run}/alerts", key=self.key)["alerts"]
        return [alert for alert in alerts if alert["state"] == "firing"]

    def wait_for_alert(self) -> Any:
        until = time.monotonic() + 30
        while not (found := self.firing()):
            assert time.monotonic() < until, "no alert fired"
            time.sleep(0.1)
        return found[0]


class Receiver:
    """A webhook's other end."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium; asked for by FORESHOCK_TEST_BROWSER=1, and then it must be there."""
    if os.environ.get("FORESHOCK_TEST_BROWSER") != "1":
        pytest.skip("set FORESHOCK_TEST_BROWSER=1 to look at the page in Chromium")
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "FORESHOCK_TEST_BROWSER=1, but there is no chromium on the PATH"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def world(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server with a run that collapses and one that does not, for tests that only look."""
    site = Site(tmp_path_factory.mktemp("site")).start()
    collapsing = Trainer(site, "run-a", "brisk-otter", collapses=True)
    healthy = Trainer(site, "run-b", "calm-heron", collapses=False)
    for _ in range(4):
        collapsing.send(100)
        healthy.send(100)
    collapsing.wait_for_alert()
    site.call(
        "POST",
        "/runs/run-b/attempts/1/finish",
        {"state": "finished", "at": time.time(), "last_seq": {"r0-test": 4}},
    )
    yield site
    site.end()


@pytest.fixture
def site(browser: Any, tmp_path: Path) -> Iterator[Site]:
    """An empty server of the test's own."""
    site = Site(tmp_path).start()
    yield site
    site.end()


class Watch:
    """What a page said and asked for."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []

    def hosts(self) -> set[str]:
        return {url.split("/")[2] for url in self.requests if not url.startswith(("data:", "blob:"))}


class Kit:
    """The classes above, for tests (which cannot import a conftest)."""

    Site = Site
    Trainer = Trainer
    Receiver = Receiver
    COLLAPSE_AT = COLLAPSE_AT


@pytest.fixture(scope="session")
def kit() -> type[Kit]:
    return Kit


@pytest.fixture
def look(browser: Any) -> Iterator[Callable[..., tuple[Any, Watch]]]:
    """Open a page: (url, width, scheme) -> the page and what it said. Everything but a lost connection must stay silent."""
    contexts = []

    def look(url: str, width: int = 1440, scheme: str = "light", **options: Any) -> tuple[Any, Watch]:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        watch = Watch()
        page.on(
            "console",
            lambda message: message.type in ("error", "warning") and watch.errors.append(message.text),
        )
        page.on("pageerror", lambda error: watch.errors.append(str(error)))
        page.on("request", lambda request: watch.requests.append(request.url))
        page.goto(url)
        return page, watch

    yield look
    for context in contexts:
        context.close()
