"""For tests of training code: a Run without server and disk, and what it recorded as columns."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from numpy.typing import NDArray

from .config import Config
from .opening import open_run
from .record.wire import Rows, unpack_block
from .run import Run
from .send.transport import REQUEST_SECONDS, Answer, Request, Undelivered

__all__ = ["Columns", "MemoryTransport", "Recording", "recording"]


@dataclass(frozen=True)
class Columns:
    """One series as it arrived."""

    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.float64]


class MemoryTransport:
    """A server of the wire contract in memory: stores each block once, knows runs and frames, and fails when told to."""

    def __init__(self) -> None:
        self.alerts: list[Mapping[str, Any]] = []  # what each answer to a block says is firing
        self.runs: dict[str, dict[str, Any]] = {}  # run -> the newest opening body
        self.ended: dict[tuple[str, int], dict[str, Any]] = {}  # (run, attempt) -> the finish body
        self.requests: list[Request] = []
        self._blocks: dict[tuple[str, int, str, int], dict[str, Any]] = {}
        self._frames: dict[tuple[str, int, str, int], dict[str, Any]] = {}
        self._failures: deque[Answer | Undelivered] = deque()
        self._lock = threading.Lock()

    def fail_next(self, *failures: Answer | Undelivered) -> None:
        """Answer the next requests so, one each, without storing anything."""
        with self._lock:
            self._failures.extend(failures)

    def forget(self) -> None:
        """Lose everything, as a server whose database was replaced."""
        with self._lock:
            self.runs.clear()
            self._blocks.clear()
            self._frames.clear()

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """Stored blocks in order of arrival, their arrays as bytes."""
        with self._lock:
            return list(self._blocks.values())

    def columns(self, key: str, run: str | None = None) -> Columns:
        """One series, in order of arrival; raises KeyError, naming the series there are, when there is none of this key."""
        found: list[tuple[int, float, float]] = []
        known: set[str] = set()
        with self._lock:
            for (of, attempt, writer, _), block in self._blocks.items():
                if run is not None and of != run:
                    continue
                for group in block["rows"]:
                    frame = self._frames[of, attempt, writer, group["frame"]]
                    keys = [series["key"] for series in frame["series"]]
                    known.update(keys)
                    if key in keys:
                        rows = Rows.from_wire(group, frame["series"][0]["dtype"])
                        found.extend(_column(rows, keys.index(key)))
        if key not in known:
            raise KeyError(
                f"nothing was recorded as {key!r}; there is {', '.join(sorted(known)) or 'nothing at all'}"
            )
        steps, times, values = zip(*found, strict=True) if found else ((), (), ())
        return Columns(np.array(steps, np.int64), np.array(times, np.float64), np.array(values, np.float64))

    def series(self, run: str | None = None) -> list[str]:
        """The key of every series that was defined."""
        with self._lock:
            frames = [frame for (of, *_), frame in self._frames.items() if run in (None, of)]
        return sorted({series["key"] for frame in frames for series in frame["series"]})

    # -- the Transport ------------------------------------------------------------------------------------------

    def exchange(self, request: Request, seconds: float = REQUEST_SECONDS) -> Answer:
        """As a server would answer."""
        with self._lock:
            self.requests.append(request)
            if self._failures:
                failure = self._failures.popleft()
                if isinstance(failure, Undelivered):
                    raise failure
                return failure
            words = urlsplit(request.path).path.split("/")[3:]  # after /api/v1
            run = words[1]
            if len(words) == 2:
                return self._open(run, json.loads(request.body))
            if run not in self.runs:
                return Answer(404, {"error": "UnknownRun", "detail": "No run has this id."})
            if words[2] == "blocks":
                floor = int(parse_qs(urlsplit(request.path).query).get("floor", ["1"])[0])
                return self._store(run, unpack_block(request.body), floor)
            self.ended[run, int(words[3])] = json.loads(request.body)
            return Answer(200, {"run": run, "state": self.ended[run, int(words[3])]["state"]})

    def close(self) -> None:
        """Nothing to let go of."""

    def _open(self, run: str, body: dict[str, Any]) -> Answer:
        self.runs[run] = body
        return Answer(200, {"run": run, "attempt": body["attempt"], "url": f"memory:///runs/{run}"})

    def _store(self, run: str, block: dict[str, Any], floor: int) -> Answer:
        writer = (run, int(block["attempt"]), str(block["writer"]))
        defined = {frame["frame"] for frame in block["frames"]}
        for group in block["rows"]:
            if group["frame"] not in defined and (*writer, group["frame"]) not in self._frames:
                return Answer(
                    409, {"error": "UnknownFrame", "detail": f"frame {group['frame']} was never defined"}
                )
        for frame in block["frames"]:
            self._frames[(*writer, frame["frame"])] = frame
        self._blocks.setdefault((*writer, int(block["seq"])), block)
        ack = floor - 1
        while (*writer, ack + 1) in self._blocks:
            ack += 1
        return Answer(200, {"ack": ack, "actions": [], "alerts": list(self.alerts), "retry_after": None})


def _column(rows: Rows, position: int) -> Iterator[tuple[int, float, float]]:
    for index, step in enumerate(rows.steps):
        if rows.absent is None or not rows.absent[index, position]:
            yield int(step), float(rows.times[index]), float(rows.values[index, position])


class Recording:
    """A run and what it has recorded so far."""

    def __init__(self, run: Run, transport: MemoryTransport) -> None:
        self.run = run
        self.transport = transport

    def columns(self, key: str) -> Columns:
        """One series, up to the last closed step."""
        self.settle()
        return self.transport.columns(key, self.run.id)

    def series(self) -> Sequence[str]:
        """The key of every series so far, our own among them."""
        self.settle()
        return self.transport.series(self.run.id)

    def settle(self, seconds: float = 10.0) -> None:
        """Wait until what was put so far has been recorded and delivered."""
        if self.run.session is not None and not self.run.session.pipeline.settle(seconds):
            raise TimeoutError(f"what was logged did not arrive within {seconds} seconds")


@contextmanager
def recording(project: str = "test", **settings: Any) -> Iterator[Recording]:
    """A Run that needs no server and touches no disk; settings as `foreshock.init` takes them.

    Without a budget, unless you give one: what is recorded does not depend on how fast the machine is.

    >>> with recording() as recorded:
    ...     for step in range(3):
    ...         recorded.run.log(loss=1.0 / (1 + step))
    ...         recorded.run.step()
    ...     recorded.columns("loss").values.tolist()
    [1.0, 0.5, 0.3333333333333333]
    """
    transport = MemoryTransport()
    chosen = Config.resolve({}, project=project, **{"budget": 0.0, **settings})
    run = open_run(chosen, transport=transport, on_disk=False)
    with run:
        yield Recording(run, transport)
