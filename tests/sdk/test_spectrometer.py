"""Eigenvalues from a process of their own: the same numbers, and whatever befalls that process costs its own readings alone."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import foreshock
from foreshock.guard import faults
from foreshock.losses import Losses
from foreshock.measure.finish import StepRow, Unsolved
from foreshock.measure.problems.gram import READINGS, Gram
from foreshock.measure.problems.problem import solve
from foreshock.measure.problems.similarity import Similarity
from foreshock.measure.problems.weights import Weights
from foreshock.measure.statistics import spectrum
from foreshock.measure.statistics.rows import prepare
from foreshock.record import spectrometer as module
from foreshock.record.packing import HostRow, Writer
from foreshock.record.recorder import Recorder
from foreshock.record.spectrometer import MOST_CHILDREN, Spectrometer
from foreshock.series import FrameSpec, SeriesSpec
from foreshock.spool.segment import Kind
from foreshock.spool.spool import Spool
from foreshock.testing import MemoryTransport, recording

torch.set_num_threads(1)
PROBLEMS = list((Path(foreshock.__file__).parent / "measure" / "problems").glob("*.py"))
SITE = "finishing a statistic"
ANSWERS = len(READINGS)
FRAME = FrameSpec(
    tuple(
        SeriesSpec("a", "representation", place="head", labels=(*labels.items(), ("reading", name)))
        for name, labels in READINGS
    )
)


def gram(x: Tensor) -> tuple[NDArray[np.float32], Gram]:
    """The payload of these rows, as the device sends it, and its problem."""
    _, product = spectrum.gram(prepare(x, torch.ones(len(x), dtype=torch.bool)), x.dtype)
    return product.payload().numpy(), product.problem


def normal(rows: int, width: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0))


def process(spectrometer: Spectrometer) -> int:
    assert spectrometer._child is not None
    return spectrometer._child._process.pid


def gone(pid: int) -> bool:
    """Ended; an orphan may wait for its reaper."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


@pytest.fixture
def spectrometer() -> Iterator[Spectrometer]:
    spectrometer = Spectrometer(Losses(), patience=20.0)
    yield spectrometer
    spectrometer.close()


# -- what it answers -----------------------------------------------------------------------------------------------


ROWS = {
    "many rows": normal(500, 96),
    "few rows": normal(20, 64),
    "as many rows as columns": normal(32, 32),
    "wide enough for threads": normal(600, 256),
    "half precision": normal(300, 48).to(torch.bfloat16),
    "rank one": normal(100, 1) @ normal(1, 40),
    "constant rows": normal(1, 24).expand(80, 24).clone(),
    "a large mean": normal(200, 16) + 1e4,
    "zeros": torch.zeros(50, 8),
    "one row": normal(1, 8),
    "one column": normal(50, 1),
    "a NaN": torch.full((20, 4), math.nan),
}


@pytest.mark.parametrize("name", ROWS)
def test_the_numbers_are_those_of_this_process(name: str, spectrometer: Spectrometer) -> None:
    payload, shape = gram(ROWS[name])
    for one in (shape, dataclasses.replace(shape, centred=not shape.centred)):
        here, there = one.solve(payload), spectrometer.solve(payload, one)
        assert there == pytest.approx(here, rel=1e-12, abs=1e-12, nan_ok=True)
    assert faults() == {}


def test_numbers_of_any_problem_come_back_in_order(spectrometer: Spectrometer) -> None:
    payload, shape = gram(normal(300, 24))
    problems = [
        (payload, dataclasses.replace(shape, histogram=True)),
        (np.random.default_rng(0).standard_normal((60, 60)).astype(np.float32).reshape(-1), Weights(60, 90)),
        (np.append(np.eye(9, dtype=np.float32), np.float32(9)), Similarity(9)),
        (payload, shape),
    ]
    for given, problem in problems:
        there = spectrometer.solve(given, problem)
        assert len(there) == problem.answers
        assert there == pytest.approx(problem.solve(given), rel=1e-12, abs=1e-12, nan_ok=True)
    assert faults() == {}


@pytest.mark.parametrize("memory", ["shared", "forbidden", "none"])
def test_a_payload_reaches_it_through_shared_memory_or_else_through_the_socket(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if memory == "none":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    if memory == "forbidden":

        def refused(name: str) -> int:
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(os, "memfd_create", refused, raising=False)
    spectrometer = Spectrometer(Losses(), patience=20.0)
    for rows, width in ((50, 8), (600, 200), (40, 12), (400, 300)):  # grows, shrinks, grows
        payload, shape = gram(normal(rows, width))
        assert spectrometer.solve(payload[:], shape) == pytest.approx(
            solve(payload, shape), rel=1e-12, nan_ok=True
        )
    assert spectrometer._child is not None
    descriptor = spectrometer._child._memory.descriptor
    assert (descriptor >= 0) is (memory == "shared" and hasattr(os, "memfd_create"))
    spectrometer.close()
    if descriptor >= 0:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    assert faults() == {}


def test_without_a_process_a_large_matrix_is_not_solved_at_the_cost_of_the_training(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "")
    monkeypatch.setattr(module, "LARGEST_ALONE", 16)
    spectrometer = Spectrometer(Losses())
    assert np.isnan(spectrometer.solve(*gram(normal(50, 17)))).all()
    assert faults() == {SITE: 1}
    assert "would hold up training" in caplog.text
    assert spectrometer.solve(*gram(normal(50, 16)))[0] > 1


def test_one_process_serves_a_run_and_its_cpu_time_is_counted(spectrometer: Spectrometer) -> None:
    payload, shape = gram(normal(500, 256))
    assert spectrometer.seconds == 0.0
    pids, seconds = set(), []
    for _ in range(3):
        spectrometer.solve(payload, shape)
        pids.add(process(spectrometer))
        seconds.append(spectrometer.seconds)
    assert len(pids) == 1
    assert 0 < seconds[0] < seconds[1] < seconds[2] < 20
    spectrometer.close()
    assert spectrometer.seconds == seconds[2]


def test_a_matrix_without_eigenvalues_raises_as_here_and_costs_no_process(spectrometer: Spectrometer) -> None:
    payload, shape = gram(normal(100, 80))
    broken = payload.copy()
    broken[:5] = math.nan  # while its row count and energies say that all is well
    for solver in (solve, spectrometer.solve):
        with pytest.raises(np.linalg.LinAlgError):
            solver(broken, shape)
    pid = process(spectrometer)
    assert spectrometer.solve(payload, shape) == pytest.approx(solve(payload, shape), nan_ok=True)
    assert process(spectrometer) == pid


# -- what it is ----------------------------------------------------------------------------------------------------


def test_it_is_polite_and_hears_no_ctrl_c(spectrometer: Spectrometer) -> None:
    spectrometer.solve(*gram(normal(600, 256)))
    pid = process(spectrometer)
    assert os.getpriority(os.PRIO_PROCESS, pid) >= 10
    assert os.getsid(pid) == pid != os.getsid(0)
    if Path("/proc/self/task").exists():
        assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 2  # that computes, and that watches


def test_it_loads_numpy_and_the_arithmetic_and_nothing_of_the_training(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(3)")
    (tmp_path / "struct.py").write_text("import os; os._exit(4)")
    arguments = [str(module._PACKAGE), str(module._NUMPY), str(os.getpid()), "-1"]
    ended = subprocess.run(
        [sys.executable, *module._FLAGS, "-c", module._PROGRAM + "print(*sys.modules)", *arguments],
        env=module._environment({**os.environ, "PYTHONPATH": str(tmp_path)}),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=60,
    )
    loaded = ended.stderr.decode().split()  # of its output only answers are left
    assert "numpy" in loaded
    assert not {"torch", "site", "urllib3", "msgpack", "logging"} & set(loaded)
    assert {name for name in loaded if name.startswith("foreshock")} == {
        "foreshock",
        "foreshock.measure",
        "foreshock.measure.problems",
        *(f"foreshock.measure.problems.{path.stem}" for path in PROBLEMS if path.stem != "__init__"),
        "foreshock.record",
        "foreshock.record.eigensolver",
    }
    assert len(ended.stdout) == module.ANSWER.size


# -- what befalls it -----------------------------------------------------------------------------------------------


def test_one_that_is_killed_costs_a_reading_and_is_replaced_three_times(
    spectrometer: Spectrometer, caplog: pytest.LogCaptureFixture
) -> None:
    payload, shape = gram(normal(50, 8))
    pids = []
    for lost in range(MOST_CHILDREN):
        assert spectrometer.solve(payload, shape) == pytest.approx(solve(payload, shape), nan_ok=True)
        pids.append(process(spectrometer))
        spent = spectrometer.seconds
        os.kill(pids[-1], signal.SIGKILL)
        assert np.isnan(spectrometer.solve(payload, shape)).all()
        assert faults() == {SITE: lost + 1}
        assert spectrometer.seconds == spent
    assert len(set(pids)) == MOST_CHILDREN
    assert np.isnan(spectrometer.solve(payload, shape)).all()
    assert spectrometer._child is None
    assert faults() == {SITE: MOST_CHILDREN + 1}
    assert f"{MOST_CHILDREN} processes for it were lost" in caplog.text


def test_one_that_hangs_is_replaced() -> None:
    spectrometer = Spectrometer(Losses(), patience=0.3)
    payload, shape = gram(normal(50, 8))
    spectrometer.solve(payload, shape)
    hung = process(spectrometer)
    os.kill(hung, signal.SIGSTOP)
    started = time.monotonic()
    assert np.isnan(spectrometer.solve(payload, shape)).all()
    assert 0.2 < time.monotonic() - started < 10
    assert gone(hung)
    assert faults() == {SITE: 1}
    spectrometer._patience = 20.0
    assert spectrometer.solve(payload, shape) == pytest.approx(solve(payload, shape), nan_ok=True)
    spectrometer.close()


def test_one_that_hangs_before_it_has_taken_the_matrix_is_replaced_too() -> None:
    spectrometer = Spectrometer(Losses(), patience=20.0)
    spectrometer.solve(*gram(normal(50, 8)))
    os.kill(process(spectrometer), signal.SIGSTOP)
    spectrometer._patience = 0.3
    started = time.monotonic()
    assert np.isnan(spectrometer.solve(*gram(normal(50, 900).T.contiguous()))).all()  # larger than any buffer
    assert time.monotonic() - started < 10
    spectrometer.close()


def script(tmp_path: Path, name: str, text: str) -> str:
    path = tmp_path / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    "why", ["empty", "frozen", "a program with Python within", "missing", "ends", "mute"]
)
def test_where_there_can_be_no_process_the_caller_does_the_work(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started = tmp_path / "started"
    executable = {
        "empty": "",
        "frozen": script(tmp_path, "python3-frozen", f"touch {started}"),
        "a program with Python within": script(tmp_path, "trainer", f"touch {started}"),
        "missing": str(tmp_path / "python3"),
        "ends": script(tmp_path, "python3.11", "exit 1"),
        "mute": script(tmp_path, "python", f"echo $$ > {tmp_path}/pid; exec sleep 60"),
    }[why]
    monkeypatch.setattr(sys, "executable", executable)
    if why == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    spectrometer = Spectrometer(Losses(), start_seconds=0.5 if why == "mute" else 20.0)
    payload, shape = gram(normal(50, 8))
    for _ in range(2):
        assert spectrometer.solve(payload, shape) == solve(payload, shape)
    assert faults() == {}
    assert caplog.text.count("the training process finishes them itself") == 1
    assert not started.exists()
    if why == "mute":
        assert gone(int((tmp_path / "pid").read_text()))


# -- the ends of the training process ------------------------------------------------------------------------------

TRAINER = """
import os, signal, sys, threading, time
import numpy as np
from foreshock.measure.problems.gram import Gram
from foreshock.losses import Losses
from foreshock.record.spectrometer import Spectrometer
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
spectrometer = Spectrometer(Losses())
def ask(side):
    shape = Gram(2 * side, side, False, 2.0**-25)
    payload = np.zeros(shape.size, np.float32)
    payload[: side * side] = np.random.default_rng(0).standard_normal((side, side)).ravel()
    payload[-4:] = 2 * side, side, side, 1
    return spectrometer.solve(payload, shape)
ask(8)
pids = [spectrometer._child._process.pid]
if sys.argv[1] == "computing":
    threading.Thread(target=ask, args=(3000,), daemon=True).start()
if sys.argv[1] == "forked":
    pid = os.fork()  # knows nothing of us, and keeps everything open
    if not pid:
        time.sleep(60)
        os._exit(0)
    pids.append(pid)
if sys.argv[1] == "SIGPIPE":
    os.kill(pids[0], signal.SIGKILL)
    time.sleep(0.2)
    assert np.isnan(ask(8)).all() and np.isfinite(ask(8)[:6]).all()
    pids = [spectrometer._child._process.pid]
time.sleep(1 if sys.argv[1] == "computing" else 0)
print(*pids, flush=True)
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("state", ["idle", "computing", "forked", "SIGPIPE"])
def test_a_trainer_that_is_killed_leaves_no_process_behind(
    state: str, eventually: Callable[..., None]
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(foreshock.__file__).parents[1])}
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER, state], stdout=subprocess.PIPE, env=environment
    )
    assert trainer.stdout is not None
    pids = [int(word) for word in trainer.stdout.readline().split()]
    try:
        assert pids
        assert not gone(pids[0])
        trainer.kill()
        eventually(lambda: gone(pids[0]), 2.0)
    finally:
        trainer.kill()
        trainer.wait()
        trainer.stdout.close()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_run_finishes_eigenvalues_there_counts_what_that_costs_and_ends_it() -> None:
    h = normal(200, 16)
    with recording(every="features=1") as recorded:
        assert recorded.run.session is not None
        spectrometer = recorded.run.session.pipeline.recorder._spectrometer
        for _ in range(3):
            recorded.run.observe.features("h", h)
            recorded.run.step()
        recorded.run.step()
        (key,) = [key for key in recorded.series() if key.startswith("effective_rank{centered=true")]
        measured = recorded.columns(key).values
        pid = process(spectrometer)
        assert recorded.transport.blocks[-1]["cost"]["background_seconds"] > spectrometer.seconds > 0
    assert len(measured) >= 2
    assert measured == pytest.approx(solve(*gram(h))[1], rel=1e-5)
    assert gone(pid)
    assert faults() == {}


def test_a_fork_of_the_training_lets_go_of_it_and_the_parent_goes_on() -> None:
    transport = MemoryTransport()
    run = foreshock.init(transport=transport, every="features=1")
    assert run.session is not None
    pipeline = run.session.pipeline
    spectrometer = pipeline.recorder._spectrometer

    def observe(step: int) -> None:
        run.observe.features("h", normal(100, 8))
        run.step(step)

    for step in range(3):
        observe(step)
    assert pipeline.settle(20)
    pid, child = process(spectrometer), spectrometer._child
    assert child is not None
    fork = os.fork()
    if not fork:
        still_open = child._socket.fileno() != -1
        spectrometer.interrupt()
        spectrometer.close()
        del child
        run.finish()
        os._exit(int(still_open))
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0
    for step in range(3, 6):
        observe(step)
    assert pipeline.settle(20)
    assert process(spectrometer) == pid
    run.finish()
    assert gone(pid)
    assert faults() == {}
    (key,) = [key for key in transport.series() if key.startswith("effective_rank{centered=true")]
    assert np.isfinite(transport.columns(key).values).all()


def test_a_matrix_that_takes_too_long_at_the_end_costs_none_of_the_rows_behind_it() -> None:
    losses = Losses()
    spool = Spool(None, losses)
    recorder = Recorder(spool, losses, Writer(1, "r0-000000"), {"url": "u", "body": {"info": {}}})
    recorder.start()

    def put(step: int) -> None:
        payload, shape = gram(normal(50, 8))
        work = Unsolved(payload, shape, lambda _: None)
        recorder.put(StepRow(step, 0.0, FRAME, np.full(ANSWERS, np.nan, np.float32), (work,)), ANSWERS)
        recorder.put(HostRow(step, 0.0, {"loss": 1.0}, 0.0, 0.0), 1)

    put(0)
    assert recorder.flush(20)
    pid = process(recorder._spectrometer)
    os.kill(pid, signal.SIGSTOP)
    for step in range(1, 4):
        put(step)
    closing = threading.Thread(target=recorder.close, args=("finished", 1.0))
    started = time.monotonic()
    closing.start()
    closing.join()
    assert 0.4 < time.monotonic() - started < 5
    records = spool.read()
    assert records[-1].kind is Kind.CLOSE
    assert sum(record.readings for record in records if record.kind is Kind.BLOCK) >= 4 * (ANSWERS + 1)
    assert gone(pid)
    assert losses.by_reason() == {"no time left to finish": 3 * ANSWERS}
    assert faults() == {}
