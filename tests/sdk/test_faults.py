"""Whatever fails around it, the training goes on bit for bit, the fault is counted and said once, and what can arrive does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import foreshock
from foreshock import commands
from foreshock.guard import faults
from foreshock.spool.folder import Reader, folders_below
from foreshock.spool.segment import Kind

STEPS = 60


def train(run: foreshock.Run | None) -> bytes:
    """Losses of a small training that draws from torch's global generator at every step, as bytes."""
    torch.set_num_threads(1)
    torch.manual_seed(7)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    if run is not None:
        run.watch(model, optimizer=optimizer)
    losses = []
    for step in range(STEPS):
        x, y = torch.randn(32, 8), torch.randint(4, (32,))
        logits = model(x)
        loss = nn.functional.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if run is not None:
            run.observe.policy(logits.detach())
            run.log(loss=loss, seen=32 * (step + 1))
            run.step()
            if run.alerts.firing("policy-entropy-collapse"):
                raise AssertionError("nothing fires here")
    return torch.stack(losses).numpy().tobytes()


@pytest.fixture(scope="module")
def undisturbed() -> bytes:
    """The losses without us."""
    return train(None)


@pytest.fixture
def tiny_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real file system of 32 KiB where we may mount one; elsewhere a disk whose writes fail beyond 32 KiB."""
    path = tmp_path / "tiny"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32k", "none", str(path)]
    mounted = (
        shutil.which("mount") and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )
    if mounted:
        yield path
        subprocess.run(["umount", "-l", str(path)], check=True)
        return
    real, written = os.write, 0

    def write(file: int, data: bytes) -> int:
        nonlocal written
        if Path(f"/proc/self/fd/{file}").resolve().is_relative_to(path):
            if written + len(data) > 2**15:
                raise OSError(28, "No space left on device")
            written += len(data)
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    yield path


def said(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(re.search(words, record.message) is not None for record in caplog.records)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("fails", "the server answers 500"),
        ("too fast", "the server answers 429"),
        ("reset while it sends", "does not answer"),
        ("stores but resets", "does not answer"),
        ("portal", "is FORESHOCK_URL the address"),
        ("redirects", "is FORESHOCK_URL the address"),
        ("silent", "does not have everything yet"),  # what it waited for was not refused when the run ended
        ("trickles head", "does not have everything yet"),
        ("trickles body", "does not have everything yet"),
    ],
)
def test_a_server_that_misbehaves_changes_no_loss_and_is_said_once(
    server: Any, undisturbed: bytes, mode: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.mode = mode
    run = foreshock.init(run="r", url=server.url, flush_seconds=1.5)
    assert train(run) == undisturbed
    run.finish()
    assert said(caplog, words) == 1
    assert said(caplog, "foreshock sync") == 1, "how the readings can still arrive"
    assert run.lost == {}
    assert waiting(run) >= 2 * STEPS


def waiting(run: foreshock.Run) -> int:
    assert run.spool is not None
    (folder,) = folders_below(run.spool)
    reader, readings = Reader(folder), 0
    while records := reader.read(complete=True):
        readings += sum(record.readings for record in records)
    assert reader.damaged == 0
    return readings


def test_nobody_there_changes_no_loss_and_everything_arrives_later(
    nobody: str, server: Any, undisturbed: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    run = foreshock.init(run="r", url=nobody, flush_seconds=1.0)
    assert train(run) == undisturbed
    run.finish()
    assert said(caplog, "does not answer") == 1
    assert commands.sync([str(run.spool), "--url", server.url]) == 0
    seen = server.memory.columns("seen")
    assert seen.steps.tolist() == list(range(STEPS))
    assert seen.values.tolist() == [32.0 * (step + 1) for step in range(STEPS)]
    assert len(server.memory.columns("loss").values) == STEPS
    assert server.memory.ended["r", 1]["state"] == "finished"


def test_a_full_disk_changes_no_loss_and_is_said_once_and_the_server_still_gets_everything(
    server: Any, undisturbed: bytes, tiny_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = foreshock.init(run="r", url=server.url, dir=tiny_disk)
    assert train(run) == undisturbed
    run.log(**{f"wide/{index}": 1.0 for index in range(3000)})
    run.step()
    run.finish()
    assert said(caplog, "cannot be written") == 1
    assert said(caplog, "ENOSPC") == 1
    assert run.lost == {}
    assert server.memory.columns("seen").steps.tolist() == list(range(STEPS))
    assert server.memory.columns("wide/2999").values.tolist() == [1.0]


def test_a_full_disk_and_no_server_lose_what_must_be_lost_and_say_so(
    nobody: str, undisturbed: bytes, tiny_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = foreshock.init(run="r", url=nobody, dir=tiny_disk, flush_seconds=0.5)
    run.log(**{f"wide/{index}": 1.0 for index in range(3000)})
    assert train(run) == undisturbed
    run.finish()
    assert run.lost["never left memory"] > 3000
    assert said(caplog, "are lost") == 1


@pytest.mark.parametrize("where", ["a file", "/proc/nothing"])
def test_a_spool_that_cannot_be_made_changes_no_loss(
    server: Any, undisturbed: bytes, where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(where)
    if where == "a file":
        path = tmp_path / "file"
        path.write_text("")
    run = foreshock.init(run="r", url=server.url, dir=path)
    assert train(run) == undisturbed
    run.finish()
    assert said(caplog, "cannot be written") == 1
    assert server.memory.columns("seen").steps.tolist() == list(range(STEPS))


@pytest.mark.usefixtures("lenient")
def test_our_own_bugs_change_no_loss_and_are_counted_and_said_once(
    server: Any, undisturbed: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug of ours")

    from foreshock.measure.instruments import Instruments
    from foreshock.measure.shown import policy
    from foreshock.record.packing import Packer

    monkeypatch.setattr(policy, "show", broken)
    monkeypatch.setattr(Instruments, "step", broken)
    monkeypatch.setattr(Packer, "add", broken)
    run = foreshock.init(run="r", url=server.url)
    assert train(run) == undisturbed
    run.finish()
    counted = faults()
    assert (
        counted["observe.policy"]
        == counted["closing the device's row"]
        == counted["recording a row"]
        == STEPS
    )
    assert said(caplog, "our fault, in observe.policy") == 1
    assert run.lost == {"our fault": STEPS}, "the one host reading of each step"


def test_a_disk_that_hangs_changes_no_loss_and_holds_no_exit(
    server: Any, undisturbed: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, thaw = os.write, threading.Event()

    def write(file: int, data: bytes) -> int:
        thaw.wait(30)
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    run = foreshock.init(run="r", url=server.url, flush_seconds=1.0)
    assert train(run) == undisturbed
    began = time.monotonic()
    run.finish()
    assert time.monotonic() - began < 10
    assert run.lost["never left memory"] >= 2 * STEPS
    assert said(caplog, "readings reached neither") == 1
    thaw.set()


@pytest.mark.usefixtures("lenient")
def test_an_init_that_breaks_leaves_an_inert_run(undisturbed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from foreshock import session

    monkeypatch.setattr(session, "Session", None)
    run = foreshock.init(project="p")
    assert "inert" in repr(run)
    assert train(run) == undisturbed
    assert faults() == {"init": 1}


def test_workers_of_a_data_loader_leave_the_run_alone(server: Any) -> None:
    run = foreshock.init(run="r", url=server.url)

    class Data(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return 32

        def __getitem__(self, index: int) -> torch.Tensor:
            run.log(loss=-1.0)
            run.step()
            return torch.tensor(float(index))

    loader = torch.utils.data.DataLoader(Data(), batch_size=4, num_workers=2, multiprocessing_context="fork")
    for batch in loader:
        run.log(loss=batch.mean())
        run.step()
    run.finish()
    assert server.memory.columns("loss").steps.tolist() == list(range(8))
    assert (server.memory.columns("loss").values >= 0).all()


# -- processes that are killed -------------------------------------------------------------------------------------

TRAINER = """
import sys, time, foreshock
run = foreshock.init(run="killed")
step = 0
while True:
    run.log(loss=1.0 / (1 + step), step_number=step); run.step()
    print(step, flush=True)
    step += 1
    time.sleep(0.002)
"""


def start(environ: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", TRAINER], stdout=subprocess.PIPE, text=True, env={**os.environ, **environ}
    )


def read_until(trainer: subprocess.Popen[str], step: int) -> None:
    assert trainer.stdout is not None
    for line in trainer.stdout:
        if int(line) >= step:
            return
    raise AssertionError("the trainer ended early")


def spooled(root: Path) -> list[int]:
    """The seqs that lie in a spool."""
    found = []
    for folder in folders_below(root):
        reader = Reader(folder)
        while records := reader.read(complete=True):
            found += [record.seq for record in records if record.kind is Kind.BLOCK]
    return found


def spooled_readings(root: Path) -> int:
    """The readings in them."""
    found = 0
    for folder in folders_below(root):
        reader = Reader(folder)
        while records := reader.read(complete=False):
            found += sum(record.readings for record in records)
    return found


def test_a_killed_trainer_leaves_every_spooled_step_for_sync_to_deliver_in_order(
    nobody: str, server: Any, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    trainer = start({"FORESHOCK_URL": nobody})
    read_until(trainer, 300)
    eventually(lambda: len(spooled(tmp_path / "spool")) > 3 and spooled_readings(tmp_path / "spool") > 700)
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    seqs = spooled(tmp_path / "spool")
    assert seqs == list(range(1, len(seqs) + 1))
    assert commands.sync([str(tmp_path / "spool"), "--url", server.url]) == 0
    steps = server.memory.columns("step_number")
    assert steps.steps.tolist() == steps.values.tolist() == list(range(len(steps.steps)))
    assert len(steps.steps) > 300
    assert ("killed", 1) not in server.memory.ended, "nobody said how it ended"
    assert commands.sync([str(tmp_path / "spool"), "--url", server.url]) == 0
    assert list((tmp_path / "spool").rglob("*.seg")) == []


def test_sync_delivers_while_the_run_goes_on_and_again_what_came_after(server: Any, tmp_path: Path) -> None:
    trainer = start({"FORESHOCK_OFFLINE": "1", "FORESHOCK_URL": server.url})
    try:
        for step in (100, 250):
            read_until(trainer, step)
            assert commands.sync([str(tmp_path / "spool")]) == 0
            assert list((tmp_path / "spool").rglob("*.seg")), "its writer lives"
        first = len(server.memory.columns("step_number").steps)
        assert first > 100
    finally:
        trainer.kill()
        trainer.wait()
    assert commands.sync([str(tmp_path / "spool")]) == 0
    steps = server.memory.columns("step_number").steps.tolist()
    assert steps == list(range(len(steps)))
    assert len(server.arrivals) < 2 * len(server.memory.blocks) + 10, "what was delivered is not sent again"


def test_a_server_that_comes_back_gets_everything_once(server: Any) -> None:
    run = foreshock.init(run="r", url=server.url)
    for step in range(600):
        if step % 200 == 50:
            server.mode = "stores but resets" if step == 250 else "fails"
        if step % 200 == 100:
            server.mode = "well"
        run.log(loss=float(step))
        run.step()
        time.sleep(0.001)
    run.finish()
    assert server.memory.columns("loss").values.tolist() == [float(step) for step in range(600)]
    assert run.lost == {}


def test_a_torn_and_a_broken_file_cost_what_they_hit_and_the_server_is_told(
    nobody: str, server: Any, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    trainer = start({"FORESHOCK_URL": nobody})
    read_until(trainer, 400)
    eventually(lambda: spooled_readings(tmp_path / "spool") > 700)
    trainer.kill()
    trainer.wait()
    (path,) = (tmp_path / "spool").rglob("*.seg")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data[:-5]))
    before = spooled(tmp_path / "spool")
    assert commands.sync([str(tmp_path / "spool"), "--url", server.url]) == 0
    newest = server.memory.blocks[-1]
    assert newest["rows"] == []
    assert newest["lost"]["spool damaged"] > 0
    assert [block["seq"] for block in server.memory.blocks[:-1]] == before
    steps = server.memory.columns("step_number").steps.tolist()
    assert steps == sorted(set(steps))


@pytest.mark.slow
def test_a_fault_takes_no_time_of_the_step(nobody: str, server: Any, eventually: Callable[..., None]) -> None:
    """A step against a silent server costs what it costs against a good one: neither is ever waited for."""

    def slowest(url: str, mode: str) -> float:
        server.mode = mode
        run = foreshock.init(url=url, flush_seconds=0.2)
        times = []
        for _ in range(300):
            began = time.perf_counter()
            run.log(loss=1.0)
            run.step()
            times.append(time.perf_counter() - began)
            time.sleep(0.001)
        run.finish()
        return sorted(times)[len(times) * 9 // 10]

    for url, mode in ((server.url, "silent"), (server.url, "trickles head"), (nobody, "well")):
        assert slowest(url, mode) < 0.002
