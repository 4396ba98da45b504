"""Problems in, their numbers out, solved in a small process of low priority: the training keeps cores and GIL."""

from __future__ import annotations

import math
import mmap
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from foreshock.guard import fault, say_once
from foreshock.losses import Losses
from foreshock.measure.problems.problem import Payload, Problem, solve
from foreshock.measure.problems.wire import pack

from .eigensolver import ANSWER, BYTES

START_SECONDS = 30.0  # until a child has loaded numpy, from a slow network disk at worst
PATIENCE = 30.0  # for an answer
PATIENCE_PER_CUBE = (
    3e-9  # seconds more per side³: 200 for the largest, on cores that the training leaves little of
)
LARGEST_ALONE = (
    1024  # side of a matrix whose eigenvalues the training process may take itself: tens of milliseconds
)
MOST_CHILDREN = 4  # the first and three that replace it

# The child sees numpy and one module of ours. Whatever else a start of Python brings along is left out: `site` with the
# .pth files and sitecustomize of the training's environment, and the SDK's own __init__ with what that imports.
_PROGRAM = """\
import sys, types
_, package, numpy, trainer, shared = sys.argv
sys.path[:] = [*filter(None, sys.path), numpy]
sys.modules["foreshock"] = types.ModuleType("foreshock")
sys.modules["foreshock"].__path__ = [package]
from foreshock.record.eigensolver import serve
serve(int(trainer), int(shared))
"""
_FLAGS = ("-B", "-s", "-S")  # writes no bytecode, no user's packages, no site
_THREADS = ("OPENBLAS", "OMP", "MKL", "BLIS")
_PACKAGE = Path(__file__).absolute().parents[1]
_NUMPY = Path(np.__file__).absolute().parents[1]
_UNSIGNALLED = getattr(socket, "MSG_NOSIGNAL", 0)  # a training script may have let SIGPIPE kill it


class _Unstarted(Exception):
    """There is no child to be had here."""


class Spectrometer:
    """Owns at most one child at a time, begun at the first matrix. Everything but close and abandon is the recorder thread's."""

    def __init__(
        self, losses: Losses, *, start_seconds: float = START_SECONDS, patience: float = PATIENCE
    ) -> None:
        self._losses = losses
        self._start_seconds = start_seconds
        self._patience = patience
        self._child: _Child | None = None
        self._children = 0  # begun so far
        self._ended_seconds = 0.0  # CPU time of those that have ended
        self._alone = False  # no child can be begun: the caller's thread does the work
        self._closed = False

    @property
    def seconds(self) -> float:
        """CPU time of the children, up to the last answer of each."""
        child = self._child
        return self._ended_seconds + (child.seconds if child is not None else 0.0)

    def solve(self, payload: Payload, problem: Problem) -> tuple[float, ...]:
        """As ``problem.solve``, of which it is the same arithmetic; NaN, and counted, where that could not be had."""
        if self._child is None and not self._alone and not self._closed and self._children < MOST_CHILDREN:
            self._begin()
        lost = f"{MOST_CHILDREN} processes for it were lost"
        if self._alone and not self._closed:
            if problem.side <= LARGEST_ALONE:
                return solve(payload, problem)
            lost = f"no process for it could be begun, and in this one a matrix of {problem.side} rows would hold up training"
        if self._child is not None and not self._closed:
            try:
                return self._child.solve(
                    payload, problem, self._patience + PATIENCE_PER_CUBE * problem.side**3
                )
            except OSError as error:
                lost = f"the process for it was lost: {error}"
                self._end()
        if self._closed:
            self._losses.add("no time left to finish", problem.answers)
        else:
            fault("finishing a statistic")
            say_once(
                ("spectrometer", lost),
                "a statistic of a spectrum is NaN by our own doing (%s); training and all other readings go on",
                lost,
            )
        return (math.nan,) * problem.answers

    def interrupt(self) -> None:
        """From any thread: what is still missing will not be waited for."""
        self._closed = True
        child = self._child
        if child is not None:
            child.hang_up()

    def close(self) -> None:
        """End the child."""
        self._closed = True
        self._end()

    def abandon(self) -> None:
        """In a fork's child: let go of the parent's, without a word to it."""
        child, self._child, self._closed = self._child, None, True
        if child is not None:
            child.abandon()

    def _begin(self) -> None:
        self._children += 1
        try:
            self._child = _Child()
            if not self._closed:  # else whoever closed us may have looked for a child too soon
                self._child.wait(self._start_seconds)
        except _Unstarted as error:
            self._end()
            if self._closed:
                return
            self._alone = True
            say_once(
                "no eigensolver",
                "no process of its own could be begun for eigenvalues (%s): the training process finishes them itself, which takes"
                " CPU time from the training",
                error,
            )

    def _end(self) -> None:
        child = self._child
        if child is not None:
            self._ended_seconds, self._child = self.seconds, None
            child.end()


class _Child:
    """A process and our end of its standard input and output: one socket, so that hanging up reaches it past any fork's copy."""

    def __init__(self) -> None:
        self.seconds = 0.0  # CPU time up to its last answer
        if os.name != "posix":
            raise _Unstarted(f"not on {sys.platform}")
        if not _is_python(sys.executable):
            raise _Unstarted(f"{sys.executable!r} is no interpreter of its own")
        self._memory = _Memory()
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 (this interpreter, with a program of ours)
                    [sys.executable, *_FLAGS, "-c", _PROGRAM, *self._arguments()],
                    pass_fds=self._memory.descriptors,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    env=_environment(os.environ),
                    start_new_session=True,  # Ctrl-C is meant for the training
                )
            except (OSError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
                self._socket.close()
                self._memory.close()
                raise _Unstarted(f"{type(error).__name__}: {error}") from error

    def _arguments(self) -> tuple[str, ...]:
        return str(_PACKAGE), str(_NUMPY), str(os.getpid()), str(self._memory.descriptor)

    def wait(self, seconds: float) -> None:
        """Until it is up."""
        try:
            self._hear(time.monotonic() + seconds)
        except OSError as error:
            raise _Unstarted(str(error)) from error

    def solve(self, payload: Payload, problem: Problem, patience: float) -> tuple[float, ...]:
        """Asked of the process; OSError when it does not answer in time."""
        deadline = time.monotonic() + patience
        shared = self._memory.write(payload)
        self._socket.settimeout(patience)
        self._socket.sendall(pack(problem) + BYTES.pack(payload.nbytes, not shared), _UNSIGNALLED)
        if not shared:
            self._socket.sendall(np.ascontiguousarray(payload).data.cast("B"), _UNSIGNALLED)
        held, values = self._hear(deadline)
        if not held:
            raise np.linalg.LinAlgError("the eigenvalues of a matrix did not converge")
        return values

    def hang_up(self) -> None:
        """Wakes whoever waits for an answer, and ends the process."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # it was quicker
            pass

    def end(self) -> None:
        """Kill it: it holds nothing worth a goodbye."""
        self.hang_up()
        self._socket.close()
        self._memory.close()
        self._process.kill()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:  # stuck in the kernel
            pass

    def abandon(self) -> None:
        """Close our copy alone."""
        self._socket.close()
        self._memory.close()
        self._process.returncode = 0  # not ours to wait for

    def _hear(self, deadline: float) -> tuple[bool, tuple[float, ...]]:
        held, count, self.seconds = ANSWER.unpack(self._receive(ANSWER.size, deadline))
        numbers = np.frombuffer(self._receive(8 * count, deadline), np.float64)
        return held, tuple(numbers.tolist())

    def _receive(self, size: int, deadline: float) -> bytes:
        received = b""
        while len(received) < size:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                more = self._socket.recv(size - len(received))
            except TimeoutError:
                raise TimeoutError("it did not answer in time") from None
            if not more:
                raise ConnectionError(f"it ended, with status {self._process.poll()}")
            received += more
        return received


class _Memory:
    """Memory that the child maps too: the payload is copied once, and not through the kernel's buffers.

    It has no name, so nothing is left behind, and it is not of /dev/shm, which a container may keep to 64 MiB and whose
    overflow would end the training with SIGBUS. Where the system has none the payload goes through the socket.
    """

    def __init__(self) -> None:
        self.descriptor = -1
        self._mapped: mmap.mmap | None = None
        if hasattr(os, "memfd_create"):
            try:
                self.descriptor = os.memfd_create("foreshock")
            except OSError:  # forbidden here
                pass

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the child inherits."""
        return (self.descriptor,) if self.descriptor >= 0 else ()

    def write(self, payload: Payload) -> bool:
        """Put it at the beginning; False where that cannot be."""
        if self.descriptor < 0:
            return False
        if self._mapped is None or len(self._mapped) < payload.nbytes:
            os.ftruncate(self.descriptor, payload.nbytes)
            self._mapped = mmap.mmap(self.descriptor, payload.nbytes)
        np.frombuffer(self._mapped, np.float32, payload.size)[:] = payload
        return True

    def close(self) -> None:
        """Let go of it; the child keeps its own."""
        self._mapped = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _is_python(executable: str | None) -> bool:
    """It may be a frozen training script, or a program that has Python within: begun again, these would train again."""
    name = Path(executable or "").name.lower()
    return name.startswith(("python", "pypy")) and not getattr(sys, "frozen", False)


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Ours, with one thread for linear algebra and without what would steer the interpreter, bar where it lives."""
    kept = {
        name: value for name, value in ours.items() if not name.startswith("PYTHON") or name == "PYTHONHOME"
    }
    return {**kept, **{f"{library}_NUM_THREADS": "1" for library in _THREADS}}
