"""What was done about alerts -> a list in the process, a line in its log, and numbers of the run that the server keeps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from foreshock.guard import log

State = Literal["applied", "dry run", "failed"]
CODES: Mapping[State, float] = {"applied": 1.0, "dry run": 0.0, "failed": -1.0}
KEPT = 1000  # entries of the list
MOST_NAMES = 200  # series of one process
LONGEST_NAME = 150


@dataclass(frozen=True)
class Acted:
    """One thing that was done, or would have been."""

    step: int  # that was closed last
    action: str
    rule: str
    state: State
    value: float  # what was set; 1 where there is nothing to set
    why: str  # the alert's own sentence
    error: str = ""  # of what failed


class Audit:
    """Keeps what was done."""

    def __init__(self) -> None:
        self.entries: deque[Acted] = deque(maxlen=KEPT)
        self._names: set[str] = set()

    def add(self, entry: Acted, record: Callable[[Mapping[str, float]], object] | None) -> None:
        """List it, say it, and record it with its step as `action/WHAT/RULE` (1: applied, 0: dry run, -1: failed) and `…/value`."""
        self.entries.append(entry)
        said = {"applied": "did", "dry run": "would have done (dry run)", "failed": "failed at"}[entry.state]
        log.warning(
            "foreshock: %s %r, value %g, at step %d, for %s: %s%s",
            said, entry.action, entry.value, entry.step, entry.rule, entry.why, f" [{entry.error}]" if entry.error else "",
        )  # fmt: skip
        name = f"action/{entry.action}/{entry.rule}"[:LONGEST_NAME]
        if record is None or (name not in self._names and len(self._names) >= MOST_NAMES):
            return
        self._names.add(name)
        record({name: CODES[entry.state], f"{name}/value": entry.value})
