"""The run in the hands of a training loop: what is recorded, what is refused in words, and how it begins and ends."""

from __future__ import annotations

import copy
import json
import logging
import math
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import foreshock
from foreshock.guard import faults
from foreshock.intake import MOST_SIZES
from foreshock.testing import MemoryTransport, Recording, recording

CONTRACT = Path(__file__).parents[1] / "contract"


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


# -- what is recorded ----------------------------------------------------------------------------------------------


def test_numbers_of_all_kinds_arrive_as_float64() -> None:
    with recording() as recorded:
        run = recorded.run
        run.log(loss=0.1, count=3, done=True, f16=np.float16(0.5), array=np.array([2.5]), nan=math.nan)
        run.log({"reward": {"mean": np.float64(0.25), "by": {"task": 1}}}, i8=np.int8(-4))
        run.step()
        values = {
            key: recorded.columns(key).values.tolist() for key in recorded.series() if key[:9] != "foreshock"
        }
    assert math.isnan(values.pop("nan")[0])
    assert values == {
        "loss": [0.1],
        "count": [3.0],
        "done": [1.0],
        "f16": [0.5],
        "array": [2.5],
        "reward/mean": [0.25],
        "reward/by/task": [1.0],
        "i8": [-4.0],
    }


def test_an_array_that_changes_after_log_is_recorded_as_it_was() -> None:
    with recording() as recorded:
        buffer = np.array(1.0)
        recorded.run.log(x=buffer)
        buffer[()] = 2.0
        recorded.run.step()
        assert recorded.columns("x").values.tolist() == [1.0]


def test_of_two_numbers_for_one_name_in_a_step_the_last_counts() -> None:
    with recording() as recorded:
        recorded.run.log(loss=1.0)
        recorded.run.log({"loss": 2.0})
        recorded.run.step()
        recorded.run.log(loss=3.0)
        recorded.run.step()
        assert recorded.columns("loss").values.tolist() == [2.0, 3.0]


@pytest.mark.parametrize(
    "value", ["fine", None, [1.0], np.zeros((2, 2)), np.zeros(0), np.zeros(5000), 1j, object(), np.array("x")]
)
def test_what_is_no_number_is_counted_and_said_once_per_name(
    value: object, caplog: pytest.LogCaptureFixture
) -> None:
    with recording() as recorded:
        for _ in range(3):
            recorded.run.log(note=value, loss=1.0)
            recorded.run.step()
        assert recorded.columns("loss").values.tolist() == [1.0] * 3
        assert recorded.run.lost == {"not a number": 3}
    assert len([text for text in messages(caplog) if "log(note=...)" in text]) == 1


def rows_of(recorded: Recording, name: str, size: int) -> list[list[float]]:
    """A vector's readings, through a server that knows none: a series per entry."""
    columns = [recorded.columns(f"{name}{{entry={place}}}").values.tolist() for place in range(size)]
    return [list(row) for row in zip(*columns, strict=True)]


def test_an_array_of_one_dimension_is_a_vector_and_is_recorded_as_it_was() -> None:
    with recording() as recorded:
        buffer = np.arange(3)
        for step in range(3):
            recorded.run.log({"by": {"task": buffer}}, loss=float(step))
            buffer += 1
            recorded.run.step()
        recorded.run.log(loss=3.0)
        recorded.run.step()
        assert rows_of(recorded, "by/task", 3) == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
        assert recorded.columns("loss").values.tolist() == [0, 1, 2, 3]
        groups = [group for block in recorded.transport.blocks for group in block["rows"]]
        of_vectors = [group for group in groups if len(group["values"]) == 3 * len(group["times"])]
        assert len(of_vectors) <= len(recorded.transport.blocks)  # not a group per step
    assert recorded.run.lost == {}


def test_of_a_vector_and_a_number_for_one_name_in_a_step_the_last_counts() -> None:
    with recording() as recorded:
        recorded.run.log(x=np.arange(2))
        recorded.run.log(x=1.0)
        recorded.run.step()
        recorded.run.log(x=2.0)
        recorded.run.log(x=np.arange(2))
        recorded.run.log(x=np.arange(2) + 5)
        recorded.run.step()
        assert recorded.columns("x").values.tolist() == [1.0]
        assert rows_of(recorded, "x", 2) == [[5, 6]]


def test_a_tensor_of_one_dimension_is_a_vector() -> None:
    torch = pytest.importorskip("torch")
    with recording() as recorded:
        for step in range(3):
            recorded.run.log(load=torch.arange(4) * step, loss=torch.tensor(1.0))
            recorded.run.step()
        recorded.run.finish()
        assert rows_of(recorded, "load", 4) == [[0, 0, 0, 0], [0, 1, 2, 3], [0, 2, 4, 6]]
        assert recorded.columns("loss").values.tolist() == [1.0] * 3


def test_vectors_of_ever_new_sizes_are_cut_off_and_counted() -> None:
    with recording() as recorded:
        for size in range(2, 2 + MOST_SIZES + 3):
            recorded.run.log(x=np.zeros(size))
            recorded.run.step()
        recorded.run.log(x=np.ones(2))
        recorded.run.step()
        recorded.settle()
        assert recorded.run.lost == {"not a number": 3}


def test_names_that_are_no_text_are_written_as_text() -> None:
    with recording() as recorded:
        recorded.run.log({1: 0.5, (2, 3): 1.5})  # type: ignore[dict-item]
        recorded.run.step()
        assert recorded.columns("1").values.tolist() == [0.5]
        assert recorded.columns("(2, 3)").values.tolist() == [1.5]


def test_steps_count_from_zero_or_are_given() -> None:
    with recording() as recorded:
        for given in (None, None, 10, None, np.int64(20), 21.0):
            recorded.run.log(x=1)
            recorded.run.step(given)
        assert recorded.columns("x").steps.tolist() == [0, 1, 10, 11, 20, 21]


@pytest.mark.parametrize("given", ["three", 2.5, math.nan, 2**70, object()])
def test_a_step_that_is_no_number_is_counted_on_and_said_once(
    given: object, caplog: pytest.LogCaptureFixture
) -> None:
    with recording() as recorded:
        for _ in range(2):
            recorded.run.log(x=1)
            recorded.run.step(given)  # type: ignore[arg-type]
        assert recorded.columns("x").steps.tolist() == [0, 1]
    assert len([text for text in messages(caplog) if "no step number" in text]) == 1


def test_a_step_that_goes_back_is_kept_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with recording() as recorded:
        for given in (5, 3, 4, 1):
            recorded.run.log(x=given)
            recorded.run.step(given)
        columns = recorded.columns("x")
        assert columns.steps.tolist() == columns.values.tolist() == [5, 3, 4, 1]
    assert len([text for text in messages(caplog) if "came after step" in text]) == 1


def test_numbers_after_the_last_step_belong_to_a_last_step() -> None:
    transport = MemoryTransport()
    run = foreshock.init(transport=transport)
    run.log(loss=1.0)
    run.step()
    run.log(final=2.0)
    run.finish()
    assert transport.columns("final").steps.tolist() == [1]


def test_a_run_is_opened_with_what_is_said_of_it_and_nothing_else_about_people(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport = MemoryTransport()
    run = foreshock.init(owner="ada", tags="sweep, a100,sweep", notes="two\nlines", transport=transport)
    run.finish()
    said = transport.runs[run.id]
    assert (said["owner"], said["tags"], said["note"]) == ("ada", ["sweep", "a100"], "two\nlines")
    for variable in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(variable, "somebody-at-home")
    run = foreshock.init(transport=transport)
    run.finish()
    assert not {"owner", "tags", "note"} & set(transport.runs[run.id])
    assert "somebody-at-home" not in str(transport.runs[run.id])


def test_times_are_seconds_of_now() -> None:
    with recording() as recorded:
        before = time.time()
        recorded.run.log(x=1)
        recorded.run.step()
        assert before <= recorded.columns("x").times[0] <= time.time()


@pytest.mark.usefixtures("lenient")
def test_nothing_that_log_is_given_can_raise(caplog: pytest.LogCaptureFixture) -> None:
    class Nasty(dict):  # type: ignore[type-arg]
        def values(self) -> Any:
            raise RuntimeError("nasty")

        items = values

    with recording() as recorded:
        recorded.run.log(Nasty(x=1))
        recorded.run.log(7)  # type: ignore[arg-type]
        recorded.run.log(loss=1.0)
        recorded.run.step()
        assert recorded.columns("loss").values.tolist() == [1.0]
    assert faults() == {"log": 2}
    assert len([text for text in messages(caplog) if "our fault, in log" in text]) == 1


def test_our_share_of_the_training_thread_is_measured() -> None:
    with recording() as recorded:
        for _ in range(50):
            recorded.run.log(x=1)
            recorded.run.step()
            time.sleep(0.001)
        cost = recorded.run.cost
        assert 0.05 < cost["wall_seconds"] < 5
        assert 0 < cost["training_seconds"] < cost["wall_seconds"] / 5
        assert cost["percent"] == pytest.approx(100 * cost["training_seconds"] / cost["wall_seconds"])
        assert recorded.columns("foreshock_overhead").values[-1] < 20


# -- beginning -----------------------------------------------------------------------------------------------------


def test_the_opening_tells_what_the_contract_names() -> None:
    transport = MemoryTransport()
    run = foreshock.init(project="p", name="n", config={"lr": 0.1}, transport=transport)
    run.finish()
    body = transport.runs[run.id]
    golden = json.loads((CONTRACT / "open.json").read_text())
    assert set(body) == set(golden)
    assert set(golden["info"]) - set(body["info"]) <= {"torch", "git_commit", "git_dirty"}
    assert (body["project"], body["name"], body["config"], body["attempt"]) == ("p", "n", {"lr": 0.1}, 1)
    assert body["writer"].startswith("r0-")


def test_init_waits_for_nobody(server: Any) -> None:
    server.mode = "silent"
    foreshock.init(offline=True).finish()  # the first call loads modules
    started = time.monotonic()
    run = foreshock.init(url=server.url, flush_seconds=0.1)
    assert time.monotonic() - started < 1.0, "a request to this server lasts until it is given up"
    run.finish()


def test_disabled_does_nothing_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESHOCK_DISABLED", "1")
    before = threading.active_count()
    with foreshock.init(project="p") as run:
        run.log(loss=1.0)
        run.step()
        assert run.watch(object()) is None  # type: ignore[arg-type]
        run.observe.policy(None)  # type: ignore[arg-type]
        assert (run.alerts.firing(), run.lost, run.cost["percent"], run.spool) == ([], {}, 0.0, None)
        assert "inert" in repr(run)
    assert threading.active_count() == before
    assert not (tmp_path / "spool").exists()


def test_offline_only_spools(tmp_path: Path, server: Any) -> None:
    run = foreshock.init(url=server.url, offline=True)
    run.log(loss=1.0)
    run.step()
    run.finish()
    assert server.arrivals == []
    assert run.spool is not None
    assert run.spool.is_relative_to(tmp_path / "spool")


def test_a_resumed_run_counts_its_attempts_whether_or_not_the_spool_was_emptied(nobody: str) -> None:
    begin: list[Callable[[], foreshock.Run]] = [
        lambda: foreshock.init(run="mine", url=nobody, flush_seconds=0.0),
        lambda: foreshock.init(run="mine", transport=MemoryTransport()),
    ]
    attempts = []
    for make in (*begin, *begin):
        run = make()
        run.log(x=1)
        run.step()
        run.finish()
        attempts.append(run.attempt)
    assert attempts == [1, 2, 3, 4]
    assert foreshock.init(run="mine", attempt=9, disabled=True).attempt == 9


def test_torchrun_says_which_attempt_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    with recording() as recorded:
        assert recorded.run.attempt == 3


def test_a_further_rank_labels_its_series_and_the_first_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, key in (("0", "loss"), ("1", "loss{rank=1}")):
        monkeypatch.setenv("RANK", rank)
        with recording(run="shared") as recorded:
            recorded.run.log(loss=1.0)
            recorded.run.step()
            assert recorded.columns(key).values.tolist() == [1.0]
            assert recorded.transport.runs["shared"]["writer"].startswith(f"r{rank}-")


def test_a_further_rank_without_a_shared_id_records_nothing_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    run = foreshock.init(project="p")
    run.log(loss=1.0)
    run.step()
    assert "inert" in repr(run)
    assert any("FORESHOCK_RUN" in text for text in messages(caplog))


# -- ending --------------------------------------------------------------------------------------------------------


def test_everything_delivered_leaves_only_a_tombstone(server: Any, tmp_path: Path) -> None:
    run = foreshock.init(run="r1", url=server.url)
    for step in range(30):
        run.log(loss=float(step))
        run.step()
    run.finish()
    run.finish()
    assert server.memory.columns("loss").values.tolist() == [float(step) for step in range(30)]
    assert server.memory.ended["r1", 1]["state"] == "finished"
    assert [path.suffix for path in (tmp_path / "spool" / "r1").iterdir()] == [".done"]
    assert run.url == "memory:///runs/r1"


def test_a_finished_run_is_inert() -> None:
    with recording() as recorded:
        recorded.run.finish()
        recorded.run.log(loss=1.0)
        recorded.run.step()
        assert recorded.transport.series() == []


@pytest.mark.parametrize(
    ("raised", "state"),
    [
        (None, "finished"),
        (ValueError("x"), "failed"),
        (KeyboardInterrupt(), "failed"),
        (foreshock.StopTraining(), "finished"),
        (SystemExit(0), "finished"),
        (SystemExit(3), "failed"),
    ],
)
def test_the_context_manager_tells_how_it_ended_and_swallows_nothing(
    raised: BaseException | None, state: str
) -> None:
    transport = MemoryTransport()
    expected = nullcontext() if raised is None else pytest.raises(type(raised))
    with expected as caught, foreshock.init(run="r", transport=transport):
        if raised is not None:
            raise raised
    assert raised is None or caught.value is raised
    assert transport.ended["r", 1]["state"] == state


def test_a_state_that_is_none_is_kept_as_finished(caplog: pytest.LogCaptureFixture) -> None:
    transport = MemoryTransport()
    foreshock.init(run="r", transport=transport).finish("done")
    assert transport.ended["r", 1]["state"] == "finished"
    assert any("'finished' or 'failed'" in text for text in messages(caplog))


def test_finish_says_where_undelivered_readings_wait(nobody: str, caplog: pytest.LogCaptureFixture) -> None:
    run = foreshock.init(url=nobody, flush_seconds=5)
    run.log(loss=1.0)
    run.step()
    run.finish()
    assert any(f"foreshock sync {run.spool}" in text for text in messages(caplog))


def script(code: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environ},
    )


LOOP = """
import foreshock
run = foreshock.init(run="scripted")
for step in range(20):
    run.log(loss=float(step)); run.step()
"""


@pytest.mark.parametrize(("ending", "state"), [("", "finished"), ("raise ValueError('boom')", "failed")])
def test_a_script_that_never_calls_finish_is_flushed_at_exit(server: Any, ending: str, state: str) -> None:
    script(LOOP + ending, {"FORESHOCK_URL": server.url})
    assert server.memory.columns("loss").values.tolist() == [float(step) for step in range(20)]
    assert server.memory.ended["scripted", 1]["state"] == state


@pytest.mark.parametrize("mode", ["silent", "trickles head", "fails"])
def test_exit_waits_no_longer_than_it_was_told(server: Any, mode: str) -> None:
    server.mode = mode
    started = time.monotonic()
    done = script(
        LOOP + "import time; print(time.monotonic())",
        {"FORESHOCK_URL": server.url, "FORESHOCK_FLUSH_SECONDS": "1"},
    )
    assert time.monotonic() - float(done.stdout.splitlines()[0]) < 6, "the default would be ten"
    assert done.returncode == 0
    assert "foreshock sync" in done.stderr
    assert time.monotonic() - started < 20


def test_a_model_that_holds_its_run_can_be_copied_and_sent_to_other_processes() -> None:
    with recording(run="held", api_key="fs-secret") as recorded:
        holder = {"run": recorded.run, "weights": [1, 2]}
        assert copy.deepcopy(holder)["run"] is recorded.run
        assert copy.copy(recorded.run) is recorded.run
        sent = pickle.dumps(holder)
        assert b"fs-secret" not in sent
        received = pickle.loads(sent)["run"]
        received.log(loss=1.0)
        received.step()
        assert (received.id, "inert" in repr(received)) == ("held", True)


# -- forks ---------------------------------------------------------------------------------------------------------


def test_a_fork_leaves_the_child_inert_and_the_parent_untouched(server: Any) -> None:
    code = """
import os, foreshock
run = foreshock.init(run="forked")
for step in range(40):
    run.log(loss=float(step)); run.step()
    if step == 20:
        child = os.fork()
        if child == 0:
            run.log(loss=-1.0); run.step(); run.finish()
            assert "inert" in repr(run), run
            raise SystemExit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
run.finish()
"""
    done = script(code, {"FORESHOCK_URL": server.url})
    assert done.returncode == 0, done.stderr
    assert server.memory.columns("loss").values.tolist() == [float(step) for step in range(40)]
    assert len({block["writer"] for block in server.memory.blocks}) == 1


def test_a_connection_imports_nothing(server: Any) -> None:
    """Or a child forked meanwhile would wait for ever for the lock of that module."""
    code = """
import sys, foreshock
run = foreshock.init(run="alone")
loaded = set(sys.modules)
run.log(loss=1.0); run.step(); run.finish()
print(sorted(set(sys.modules) - loaded))
"""
    done = script(code, {"FORESHOCK_URL": server.url})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert len(server.memory.columns("loss", "alone").values) == 1


def test_a_child_can_begin_a_run_of_its_own(server: Any) -> None:
    code = """
import os, foreshock
run = foreshock.init(run="parent")
for step in range(200):
    run.log(loss=1.0); run.step()
child = os.fork()
if child == 0:
    own = foreshock.init(run="child"); own.log(loss=2.0); own.step(); own.finish(); os._exit(0)
assert os.waitpid(child, 0)[1] == 0
run.finish()
"""
    done = script(code, {"FORESHOCK_URL": server.url})
    assert done.returncode == 0, done.stderr
    assert server.memory.columns("loss", "child").values.tolist() == [2.0]
    assert len(server.memory.columns("loss", "parent").values) == 200


def _log_in_worker(run: foreshock.Run, result: Any) -> None:
    run.log(loss=-1.0)
    run.step()
    result.put(repr(run))


def test_a_worker_process_that_was_forked_records_nothing(server: Any) -> None:
    run = foreshock.init(run="loader", url=server.url)
    context = multiprocessing.get_context("fork")
    result = context.Queue()
    worker = context.Process(target=_log_in_worker, args=(run, result))
    worker.start()
    assert "inert" in result.get(timeout=20)
    worker.join(20)
    run.log(loss=1.0)
    run.step()
    run.finish()
    assert server.memory.columns("loss").values.tolist() == [1.0]


def test_a_run_that_nobody_holds_is_still_flushed_at_exit(server: Any) -> None:
    code = """
import foreshock
def train():
    run = foreshock.init(run="dropped")
    run.log(loss=1.0); run.step()
train()
"""
    script(code, {"FORESHOCK_URL": server.url})
    assert server.memory.columns("loss").values.tolist() == [1.0]
    assert server.memory.ended["dropped", 1]["state"] == "finished"


def test_every_rank_and_every_attempt_of_a_run_makes_up_the_same_name() -> None:
    names = {foreshock.init(run="shared", disabled=True).name for _ in range(3)}
    assert len(names) == 1
    assert len({foreshock.init(disabled=True).name for _ in range(3)}) == 3


def test_the_log_says_nothing_when_all_is_well(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), foreshock.init(url=server.url) as run:
        run.log(loss=1.0)
        run.step()
    assert messages(caplog) == []
