"""Kill -9 of the server and of the trainer, in the middle: every step arrives, every message keeps its id."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.topology.processes import Server, eventually

import foreshock
from foreshock.demo.receiver import Receiver

STEPS = 400

# A run whose entropy dies: what the built-in rule must catch. It prints each step once that step was handed over.
TRAINER = """
import math, sys, time
import foreshock

url, spool, steps, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
run = foreshock.init(project="kill", name="dying", run="kill-test", url=url, dir=spool)
for step in range(steps):
    run.log(policy_entropy=math.exp(-step / 60), loss=1.0 / (1 + step))
    run.step()
    print(step, flush=True)
    time.sleep(pause)
run.finish()
"""


def start_trainer(url: str, spool: Path, *, pause: float = 0.01) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(TRAINER), url, str(spool), str(STEPS), str(pause)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FORESHOCK_FLUSH_SECONDS": "30"},
    )


def read_until(trainer: subprocess.Popen[str], step: int) -> None:
    assert trainer.stdout is not None
    for line in trainer.stdout:
        if int(line) >= step:
            return
    raise AssertionError(trainer.stderr.read() if trainer.stderr else "the trainer ended early")


def stored_steps(server: Server) -> list[int]:
    try:
        return [int(step) for step in foreshock.Client(server.url).run("kill-test").series("loss").steps]
    except foreshock.ForeshockError:
        return []


@pytest.mark.slow
def test_a_notification_interrupted_by_a_kill_is_sent_again_with_the_same_id(
    server: Server, tmp_path: Path
) -> None:
    """The receiver answers 500 until the server was killed and started again: both tries carry one id."""

    tries: list[tuple[str, bool]] = []
    accepting = False
    receiver = RefusingReceiver(lambda message_id: (tries.append((message_id, accepting)), accepting)[1])
    server.stop()
    server.environment.update(FORESHOCK_WEBHOOK_URL=receiver.url, FORESHOCK_WEBHOOK_SECRET=receiver.secret)
    server.start()
    trainer = start_trainer(server.url, tmp_path / "spool", pause=0.002)
    eventually(lambda: bool(tries), 60)
    server.kill()
    accepting = True
    server.start()
    assert trainer.wait(60) == 0
    eventually(lambda: any(accepted for _, accepted in tries), 60)
    before = {message_id for message_id, accepted in tries if not accepted}
    after = [message_id for message_id, accepted in tries if accepted]
    assert before <= set(after), "what was refused before the kill was delivered after it, under the same id"

    assert all(message.verified for message in receiver.messages)
    receiver.close()


class RefusingReceiver(Receiver):
    """Answers 500 while `accept` says no."""

    def __init__(self, accept: Callable[[str], bool]) -> None:
        super().__init__()
        handler = self._server.RequestHandlerClass
        taken = handler.do_POST  # type: ignore[attr-defined]

        def do_post(request: object) -> None:
            if accept(request.headers.get("webhook-id", "")):  # type: ignore[attr-defined]
                taken(request)
            else:
                request.send_response(500)  # type: ignore[attr-defined]
                request.end_headers()  # type: ignore[attr-defined]

        handler.do_POST = do_post  # type: ignore[attr-defined]


@pytest.mark.slow
def test_killing_the_trainer_leaves_every_spooled_step_to_ship_later(server: Server, tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"  # the discard port: nothing listens there
    spool = tmp_path / "spool"
    trainer = start_trainer(nobody, spool)
    read_until(trainer, 150)
    time.sleep(1.0)  # let the recorder write what was handed over
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    shipped = subprocess.run(
        [sys.executable, "-m", "foreshock", "sync", str(spool), "--url", server.url],
        capture_output=True,
        text=True,
    )
    assert shipped.returncode == 0, shipped.stdout + shipped.stderr
    steps = stored_steps(server)
    assert steps == list(range(len(steps)))
    assert len(steps) >= 151
    again = subprocess.run(
        [sys.executable, "-m", "foreshock", "sync", str(spool), "--url", server.url],
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0
    assert stored_steps(server) == steps


@pytest.mark.slow
def test_from_tensor_to_pager_in_one_run(server: Server, receiver: Receiver, tmp_path: Path) -> None:
    trainer = start_trainer(server.url, tmp_path / "spool", pause=0.002)
    assert trainer.wait(60) == 0
    run = foreshock.Client(server.url).run("kill-test")
    eventually(lambda: any(alert["rule"] == "policy-entropy-collapse" for alert in run.alerts()))
    alert = next(alert for alert in run.alerts() if alert["rule"] == "policy-entropy-collapse")
    assert alert["series"] == "policy_entropy"
    assert math.exp(-alert["fired_step"] / 60) > 0.2, "it must fire before a fifth of the baseline is reached"
    eventually(lambda: len(receiver.messages) >= 1)
    body = receiver.messages[0].body
    assert body["type"] == "alert.fired"
    assert body["run"]["id"] == "kill-test"
    assert body["alert"]["baseline"] == pytest.approx(alert["baseline"])
    assert body["alert"]["threshold"] == pytest.approx(alert["threshold"])
