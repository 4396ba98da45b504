"""A real HTTP receiver on loopback with scripted answers, and rows of a run whose alert fired."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from foreshock_server.db import Database
from foreshock_server.models import Channel, Run, Series, Transition
from foreshock_server.notify.reach import EVERYWHERE, Way
from foreshock_server.store import outbox

RUN = "run-1"
CERTIFICATE = Path(__file__).with_name("localhost.pem")  # signed by itself, for tests only, until 2120
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # 24 bytes


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Answer:
    """What the receiver says: a status, header fields, a body, and how slowly."""

    status: int = 200
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    wait: float = 0.0
    drip: float = 0.0  # seconds between the bytes of an endless header
    hang_up: bool = False


class Receiver:
    """Answers as scripted, then 200; remembers everything, and the most requests it ever had at once."""

    def __init__(self, *answers: Answer, tls: bool = False) -> None:
        self.script = list(answers)
        self.received: list[Received] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self.ending = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with outer._lock:
                    outer.received.append(Received(self.path, headers, body, time.time()))
                    outer._now += 1
                    outer.most_at_once = max(outer.most_at_once, outer._now)
                    answer = outer.script.pop(0) if outer.script else Answer()
                try:
                    outer._answer(self, answer)
                except OSError:
                    pass  # the sender hung up, as some of these tests want
                finally:
                    with outer._lock:
                        outer._now -= 1

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook/abcdefgh1234"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = f"https://localhost:{self._server.server_port}/hook/abcdefgh1234"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def _answer(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        self.ending.wait(answer.wait)
        if answer.hang_up:
            handler.connection.close()
            return
        handler.send_response(answer.status)
        for name, value in answer.fields.items():
            handler.send_header(name, value)
        if answer.drip:
            handler.flush_headers()
            while not self.ending.wait(answer.drip):
                handler.wfile.write(b"x")
        handler.send_header("content-length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body)

    def close(self) -> None:
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    """Starts receivers; all end with the test."""
    started: list[Receiver] = []

    def start(*answers: Answer, tls: bool = False) -> Receiver:
        started.append(Receiver(*answers, tls=tls))
        return started[-1]

    yield start
    for receiver in started:
        receiver.close()


def transition_of(
    kind: str = "fired", *, episode: int = 1, rule: str = "policy-entropy-collapse"
) -> Transition:
    """What the evaluator writes, not yet stored."""
    return Transition(
        run_id=RUN,
        rule=rule,
        series_id=1,
        episode=episode,
        kind=kind,
        severity="critical",
        step=412,
        since_step=380,
        at=1792000000.5,
        created_at=1792000001.0,
        detail={
            "title": "Policy entropy is collapsing",
            "unit": "nat",
            "value": 0.29,
            "level": 0.31,
            "baseline": 0.82,
            "threshold": 0.205,
            "clear": 0.4,
            "forecast": {"low_steps": 120, "high_steps": 240, "target_share": 0.2},
            "message": "Policy entropy is collapsing since step 380: 0.31 nat, 38 % of baseline.",
            "runbook": {
                "meaning": "The policy commits to a few tokens.",
                "check": ["Is the reward still rising?"],
                "try": [
                    {
                        "text": "Raise the upper clip to 0.28.",
                        "basis": "paper",
                        "source": "DAPO, arXiv:2503.14476",
                    },
                    {
                        "text": "Resume from before the fall.",
                        "basis": "inference",
                        "source": "measured here",
                    },
                ],
            },
        },
    )


class Rows:
    """Rows as the evaluator and the API would have stored them."""

    run_id = RUN

    def __init__(self, database: Database) -> None:
        self.database = database
        with database.writing() as session:
            session.add(
                Run(
                    id=self.run_id,
                    project="grpo-math",
                    name="brisk <otter> & co",
                    config={},
                    state="running",
                    created_at=1000.0,
                    updated_at=1000.0,
                    last_step=500,
                )
            )
            session.add(
                Series(
                    run_id=self.run_id,
                    series_id=1,
                    key="policy_entropy",
                    key_hash="0" * 40,
                    statistic="policy_entropy",
                    family="policy entropy",
                    place="",
                    labels={},
                    unit="nat",
                    dtype="f32",
                    about={},
                )
            )

    def channel(
        self, url: str, kind: str = "webhook", *, project: str | None = None, enabled: bool = True
    ) -> str:
        """Adds a channel."""
        config = {"url": url} | ({"secret": SECRET} if kind == "webhook" else {})
        with self.database.writing() as session:
            number = session.query(Channel).count() + 1
            session.add(
                Channel(
                    id=f"channel-{number}",
                    name=f"channel {number}",
                    kind=kind,
                    config=config,
                    project=project,
                    enabled=enabled,
                    origin="api",
                    created_at=1000.0,
                )
            )
        return f"channel-{number}"

    def fire(
        self,
        kind: str = "fired",
        *,
        now: float = 2000.0,
        episode: int = 1,
        rule: str = "policy-entropy-collapse",
    ) -> int:
        """Stores a transition with its deliveries, in one transaction, as the evaluator does; counts the deliveries."""
        with self.database.writing() as session:
            transition = session.merge(transition_of(kind, episode=episode, rule=rule))
            session.flush()
            return outbox.enqueue(session, transition, now)


@pytest.fixture
def local() -> Callable[..., Way]:
    """A way that may lead to this machine, where the receivers of these tests are."""
    return lambda deadline=10.0: Way(deadline, EVERYWHERE)


@pytest.fixture
def rows(database: Database) -> Rows:
    return Rows(database)


@pytest.fixture
def transition() -> Callable[..., Transition]:
    """Makes transitions without a database."""
    return transition_of


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


@pytest.fixture
def secret() -> str:
    return SECRET
