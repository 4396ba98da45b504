"""One process per subject, asked by turns over its pipes; between its turns it stands still, so that subjects never compete.

Standing still also keeps the books honest: what a subject left for later it must do in its own next turn, not in another's.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.report import Measure
from tests.bench.rivals import environment, find

SCRIPTS = Path(__file__).parent / "subjects"


class SubjectFailed(Exception):
    """The subject's process died, stayed silent, or said that it cannot."""


class Subject:
    """A running script of subjects/: one JSON line in, one JSON line out."""

    def __init__(
        self,
        name: str,
        script: str,
        arguments: Sequence[str],
        folder: Path,
        *,
        python: Path | None = None,
        companion: int | None = None,
    ) -> None:
        self.name = name
        self._companion = (
            companion  # a server's process group that works for this subject, and only in its turns
        )
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "subject.log"
        ours = {**os.environ, "FORESHOCK_STRICT": "0"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(python or sys.executable), str(SCRIPTS / script), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=ours if python is None else environment(HOME=str(folder)),
                start_new_session=True,  # a group of its own: stopped and ended as one
            )
        self._unread = b""

    @property
    def groups(self) -> tuple[int, ...]:
        """Its process groups: its own, and that of the server that works for it."""
        return (self._process.pid, *(() if self._companion is None else (self._companion,)))

    def ask(self, request: Mapping[str, Any], seconds: float = 180.0) -> Any:
        """The subject's answer; it runs only while it is asked."""
        self._signal(signal.SIGCONT)
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            answer = json.loads(self._line(seconds))
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise SubjectFailed(f"{error}: {self._last_words()}") from error
        finally:
            self._signal(signal.SIGSTOP)
        if "error" in answer:
            raise SubjectFailed(
                f"{answer['error']}: {self._last_words()}" if answer.get("log") else answer["error"]
            )
        return answer["answer"]

    def close(self) -> None:
        """Ends the whole group: our child and whatever it started."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass

    def _line(self, seconds: float) -> bytes:
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        deadline = time.monotonic() + seconds
        while b"\n" not in self._unread:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise OSError(f"no answer within {seconds:g} s")
            more = os.read(pipe, 1 << 20)
            if not more:
                raise OSError(f"the process ended, status {self._process.wait(5)}")  # below 0: a signal
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _signal(self, number: signal.Signals) -> None:
        groups = [self._process.pid]
        if self._companion is not None and number in (signal.SIGCONT, signal.SIGSTOP):
            groups.append(self._companion)
        for group in groups:
            try:
                os.killpg(group, number)
            except (ProcessLookupError, PermissionError):
                pass

    def _last_words(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-300:] if self._log.exists() else ""


class Turns:
    """Subjects that take turns; one that fails leaves, and its reason goes into every measure given."""

    def __init__(self, measures: Sequence[Measure]) -> None:
        self.subjects: list[Subject] = []
        self.measures = measures

    def enter(self, name: str, start: Callable[[], Subject], first: Mapping[str, Any] | None = None) -> None:
        """Starts a subject and asks it the first thing; one that cannot is absent from the start."""
        try:
            subject = start()
        except Exception as error:
            self._absent(name, error)
            return
        self.subjects.append(subject)
        if first is not None:
            self._try(subject, first)

    def round(
        self,
        request: Mapping[str, Any] | Callable[[str], Mapping[str, Any]],
        whom: Callable[[str], bool] = lambda name: True,
    ) -> Iterator[tuple[str, Any]]:
        """One turn each, in order, of those it is for: (subject, answer). The request may depend on the subject's name."""
        for subject in [one for one in self.subjects if whom(one.name)]:
            answer = self._try(subject, request(subject.name) if callable(request) else request)
            if answer is not None:
                yield subject.name, answer

    def rotate(self) -> None:
        """The first one is the last one from now on."""
        self.subjects.append(self.subjects.pop(0))

    def close(self) -> None:
        """Ends every subject."""
        for subject in self.subjects:
            subject.close()

    def _try(self, subject: Subject, request: Mapping[str, Any]) -> Any:
        try:
            return subject.ask(request)
        except SubjectFailed as error:
            self._absent(subject.name, error)
            subject.close()
            self.subjects.remove(subject)
            return None

    def _absent(self, name: str, error: Exception) -> None:
        for measure in self.measures:
            measure.absent(name, f"{type(error).__name__}: {error}")


@contextmanager
def turns(*measures: Measure) -> Iterator[Turns]:
    """Turns whose subjects are all ended afterwards."""
    taking = Turns(measures)
    try:
        yield taking
    finally:
        taking.close()


def ours(name: str, script: str, first: str, url: str, folder: Path, companion: int | None = None) -> Subject:
    """A subject in the project's own environment."""
    return Subject(name, script, [first, str(folder), url, torch_home()], folder, companion=companion)


def rival(
    name: str,
    script: str,
    folder: Path,
    first: str | None = None,
    called: str | None = None,
    url: str = "",
    companion: int | None = None,
) -> Subject:
    """A subject in the rival's environment, which is found, or made, at the moment it is wanted.

    ``first`` is the script's first argument, where it is not the rival's name; ``called`` says which way of using it this is.
    """
    found = find(name)
    subject = found.subject if called is None else f"{called} ({found.subject})"
    return Subject(
        subject,
        script,
        [first or name, str(folder), url, torch_home()],
        folder,
        python=found.python,
        companion=companion,
    )


def torch_home() -> str:
    """The folder that this process would import torch from."""
    spec = importlib.util.find_spec("torch")
    return str(Path(spec.origin).parent.parent) if spec and spec.origin else ""
