"""From sending the block that shows it to the webhook in hand: the real server, its rules, its outbox, a receiver on loopback."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench import alive, evaluating
from tests.bench.report import OURS, Measure
from tests.bench.service import Server, series, serving
from tests.bench.turns import rival, turns

from foreshock.demo.receiver import Received, Receiver

PATIENCE = 30.0  # seconds after which a message counts as lost
SETTLED = 0.4  # seconds between a run's healthy block and the one that shows the collapse


class NoMessage(Exception):
    """The webhook did not come."""


def run(folder: Path, quick: bool) -> list[Measure]:
    """Each reading is a run of its own, one at a time; the rival's own alert call takes its turns in between."""
    rounds, repeats = (1, 2) if quick else (5, 12)
    loss = Measure("block with a NaN loss sent, until its webhook has arrived", "ms", "lower")
    entropy = Measure(
        "block with 10 % of the policy entropy sent, until its webhook has arrived", "ms", "lower"
    )
    receiver, theirs = Receiver(), Receiver()
    secrets = {"FORESHOCK_WEBHOOK_URL": receiver.url, "FORESHOCK_WEBHOOK_SECRET": receiver.secret}
    try:
        with serving(folder / "server", **secrets) as server, turns(loss) as taking:
            taking.enter(
                "trackio", partial(rival, "trackio", "trackio_alert.py", folder / "trackio"), {"do": "open"}
            )
            for turn in range(-1, rounds):  # the first one warms up
                spent: dict[str, list[float]] = defaultdict(list)
                for repeat in range(repeats):
                    name = f"bench-{turn + 1}-{repeat}"
                    spent["loss"].append(_latency(receiver, server, f"loss-{name}", _nan_loss))
                    spent["entropy"].append(_latency(receiver, server, f"entropy-{name}", _collapse))
                    for subject, sent in taking.round({"do": "alert", "name": name, "url": theirs.url}):
                        came = _wait(partial(_titled, theirs, f"trackio {name}"))
                        spent[f"{subject}, alert() called by the script"].append((came.at - sent) * 1e3)
                if turn >= 0:
                    loss.add(OURS, spent.pop("loss"))
                    entropy.add(OURS, spent.pop("entropy"))
                    for subject, readings in spent.items():
                        loss.add(subject, readings)
    finally:
        receiver.close()
        theirs.close()
    return [loss, entropy, *alive.run(folder / "alive", quick), *evaluating.run(folder / "evaluating", quick)]


def _latency(receiver: Receiver, server: Server, run: str, provoke: Callable[[Server, str], float]) -> float:
    """Milliseconds from the moment the telling block was sent; the message must be signed as its receiver can check."""
    server.open(run)
    sent = provoke(server, run)
    came = _wait(lambda: next(iter(receiver.about(run)), None))
    if not came.verified:
        raise NoMessage(f"the webhook about {run} came with a signature that does not verify")
    return (came.at - sent) * 1e3


def _nan_loss(server: Server, run: str) -> float:
    loss = [series("loss", "training", dtype="f64")]
    server.block(run, 1, loss, 0, [[2.0 - step / 100] for step in range(20)])
    time.sleep(SETTLED)
    sent = time.time()
    server.block(run, 2, loss, 20, [["NaN"]])
    return sent


def _collapse(server: Server, run: str) -> float:
    entropy = [series("policy_entropy", "policy entropy", "nat")]
    server.block(run, 1, entropy, 0, [[1.0 + 0.02 * (step % 3)] for step in range(40)])
    time.sleep(SETTLED)
    sent = time.time()
    server.block(run, 2, entropy, 40, [[0.1]] * 16)
    return sent


def _titled(receiver: Receiver, title: str) -> Received | None:
    return next((message for message in receiver.messages if title in json.dumps(message.body)), None)


def _wait(look: Callable[[], Received | None]) -> Received:
    """The message, whose time of arrival was taken when it came, not when we looked."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.005)
    raise NoMessage(f"no webhook within {PATIENCE:g} s")
