"""Problems on standard input in, numbers on standard output out: the process beside the training. Needs numpy alone."""

from __future__ import annotations

import mmap
import os
import select
import struct
import threading
import time
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from foreshock.measure.problems.problem import Payload
from foreshock.measure.problems.wire import HEADER, unpack

BYTES = struct.Struct("=Q?")  # of the payload, and whether it follows; else it lies in the shared memory
ANSWER = struct.Struct(
    "=?Id"
)  # whether the arithmetic held, how many numbers follow, CPU seconds of this process so far
NICE = 10  # the training's own threads come first
LOOK_SECONDS = 0.5  # how long a dead trainer can go unseen when its own forks hold our input open


def serve(trainer: int, shared: int) -> None:
    """Answer requests until the input ends or the trainer is gone. The first answer comes unasked: it says that we are up.

    ``shared`` is the descriptor of memory that both processes map, or -1.
    """
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    os.nice(NICE)
    threading.Thread(target=_end_with, args=(trainer,), daemon=True).start()
    os.write(answers, ANSWER.pack(True, 0, time.process_time()))
    memory = _Memory(shared)
    with open(0, "rb") as requests:
        while header := requests.read(HEADER.size):
            values = _answer(header, requests, memory)
            numbers = np.asarray(values or (), np.float64)
            head = ANSWER.pack(values is not None, len(numbers), time.process_time())
            os.write(answers, head + numbers.tobytes())


def _answer(header: bytes, requests: BinaryIO, memory: _Memory) -> tuple[float, ...] | None:
    problem = unpack(header)
    size, follows = BYTES.unpack(requests.read(BYTES.size))
    payload = np.frombuffer(requests.read(size), np.float32) if follows else memory.read(size)
    try:
        return problem.solve(payload)
    except np.linalg.LinAlgError:
        return None


class _Memory:
    """What the trainer has written there, read where it lies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mapped: NDArray[np.uint8] | None = None

    def read(self, size: int) -> Payload:
        if self._mapped is None or len(self._mapped) < size:
            length = os.fstat(self._descriptor).st_size
            self._mapped = np.frombuffer(mmap.mmap(self._descriptor, length, prot=mmap.PROT_READ), np.uint8)
        return self._mapped[:size].view(np.float32)


def _end_with(trainer: int) -> None:
    """End this process in the midst of a large matrix when nobody waits for it any more."""
    hung_up = select.poll()
    hung_up.register(0, 0)  # hanging up is always reported; that there is something to read must not be
    while os.getppid() == trainer and not hung_up.poll(1000 * LOOK_SECONDS):
        pass
    os._exit(0)
