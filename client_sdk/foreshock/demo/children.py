"""The trainings as processes of their own, one thread each: what they print, line by line -> curve, alerts, tally."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from .service import NotStarted

Line = dict[str, Any]


class Variant(str, Enum):
    """The two runs."""

    COLLAPSE = "collapse"
    TWIN = "twin"

    def __str__(self) -> str:
        return self.value


class Child:
    """One `python -m foreshock.demo.trainer …`; each line of its standard output is one JSON object."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self.run_id: str | None = None
        self.curve: list[Line] = []
        self.alerts: list[Line] = []
        self.tally: Line = {}
        self.log = log
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "foreshock.demo.trainer", *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **threads},
                start_new_session=True,  # Ctrl-C goes to the parent, which stops us in order
            )

    @classmethod
    def teacher(cls, checkpoint: Path, *, seed: int, log: Path) -> Child:
        """Pre-training: one checkpoint from which both runs start."""
        return cls("pre-training", ["pretrain", "--seed", str(seed), "--checkpoint", str(checkpoint)], log)

    @classmethod
    def run(cls, variant: Variant, checkpoint: Path, *, seed: int, url: str, spool: Path, log: Path) -> Child:
        """One GRPO run under the eyes of Foreshock."""
        arguments = ["run", "--variant", variant.value, "--seed", str(seed), "--checkpoint", str(checkpoint)]
        return cls(variant.value, [*arguments, "--url", url, "--spool", str(spool)], log)

    def listen(self, heard: Callable[[Child, Line], None]) -> threading.Thread:
        """Read until it ends, on a thread; `heard` is called with each line."""
        thread = threading.Thread(target=self._listen, args=(heard,), name=f"listen-{self.name}", daemon=True)
        thread.start()
        return thread

    def _listen(self, heard: Callable[[Child, Line], None]) -> None:
        for text in self._process.stdout or ():
            line: Line = json.loads(text)
            if "run" in line:
                self.run_id = line["run"]
            elif "step" in line:
                self.curve.append(line)
            elif "alert" in line:
                self.alerts.append(line)
            elif "tally" in line:
                self.tally = line["tally"]
            heard(self, line)

    def check(self) -> None:
        """Raise, with the end of its log, unless it ended well."""
        if self._process.wait() != 0:
            raise NotStarted(
                f"{self.name} ended with an error; {self.log}:\n{self.log.read_text(errors='replace')[-3000:]}"
            )

    def stop(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
