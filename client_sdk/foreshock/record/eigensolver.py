"""Payloads on standard input in, effective ranks on standard output out: the process beside the training. Needs numpy alone."""

from __future__ import annotations

import math
import os
import select
import struct
import threading
import time
from typing import BinaryIO

import numpy as np

from foreshock.measure.eigenvalues import Shape, ranks

REQUEST = struct.Struct("=QQ?d")  # the Shape; its payload follows
ANSWER = struct.Struct("=?5d")  # whether the arithmetic held, four ranks, CPU seconds of this process so far
NOTHING = (math.nan,) * 4  # no ranks
NICE = 10  # the training's own threads come first
LOOK_SECONDS = 0.5  # how long a dead trainer can go unseen when its own forks hold our input open


def serve(trainer: int) -> None:
    """Answer requests until the input ends or the trainer is gone. The first answer comes unasked: it says that we are up."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    os.nice(NICE)
    threading.Thread(target=_end_with, args=(trainer,), daemon=True).start()
    os.write(answers, ANSWER.pack(True, *NOTHING, time.process_time()))
    with open(0, "rb") as requests:
        while request := requests.read(REQUEST.size):
            values = _answer(request, requests)
            os.write(answers, ANSWER.pack(values is not None, *(values or NOTHING), time.process_time()))


def _answer(request: bytes, requests: BinaryIO) -> tuple[float, float, float, float] | None:
    shape = Shape(*REQUEST.unpack(request))
    payload = np.frombuffer(requests.read(4 * shape.size), np.float32)
    try:
        return ranks(payload, shape)
    except np.linalg.LinAlgError:
        return None


def _end_with(trainer: int) -> None:
    """End this process in the midst of a large matrix when nobody waits for it any more."""
    hung_up = select.poll()
    hung_up.register(0, 0)  # hanging up is always reported; that there is something to read must not be
    while os.getppid() == trainer and not hung_up.poll(1000 * LOOK_SECONDS):
        pass
    os._exit(0)
