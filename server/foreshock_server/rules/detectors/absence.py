"""What arrives of a series, and what its process brings meanwhile -> when the series has fallen silent, and when it speaks again.

- `steps`: the process that brings it went on for more than so many steps without it: a hook that is gone, a branch that is not taken.
  A step counts when a later one has come, so it does not matter how rows are cut into blocks. Training that pauses is not silent.
- `seconds`: nothing of it arrived for more than so long, by the server's clock: the run hangs, or died without a word. It is told at
  the moment that lies so long after the last arrival, whenever somebody looks; so who looks, and how often, changes nothing, and
  stored blocks tell the same again.

From step 0: a series that never came is not known, and not missed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from foreshock_server.rules.detectors.every import EveryReading
from foreshock_server.rules.detectors.reading import Reading
from foreshock_server.rules.reduction import Reduction

Process = tuple[int, str]  # attempt, writer


class AbsenceMemory(NamedTuple):
    """What is remembered between blocks."""

    process: Process | None = None  # that brings it
    last: int | None = None  # the furthest step with a reading
    top: int | None = None  # the furthest step of the process …
    top_at: float = 0.0  # … and its time
    arrived: float | None = None  # when the last block with a reading did
    silent: bool = False


class Verdict(NamedTuple):
    """It fell silent, or is heard again."""

    silent: bool
    step: int
    at: float  # seconds since 1970
    note: str


class Absence(EveryReading):
    """The parameters of one rule. Which value came does not matter, only that one did."""

    worst: ClassVar[Reduction | None] = None

    kind: Literal["absence"]
    steps: int | None = Field(
        None,
        ge=1,
        le=10**9,
        description="breach when its process went on for more steps than this without it",
    )
    seconds: float | None = Field(
        None, ge=1, le=10**8, description="breach when nothing of it arrived for longer than this"
    )

    @model_validator(mode="after")
    def _waits_for_something(self) -> Absence:
        if self.steps is None and self.seconds is None:
            raise ValueError("write `steps: STEPS`, `seconds: SECONDS` or both")
        return self

    def initial(self) -> AbsenceMemory:
        """Nothing heard."""
        return AbsenceMemory()

    def update(self, memory: AbsenceMemory, step: int, value: float) -> tuple[AbsenceMemory, Reading]:
        """A reading says nothing by itself: see `hear` and `look`."""
        return memory, Reading(None, value=value)

    def hear(
        self,
        memory: AbsenceMemory,
        process: Process,
        ran: Sequence[tuple[int, float]],
        came: Collection[int],
        at: float,
    ) -> tuple[AbsenceMemory, list[Verdict]]:
        """The memory after a block of a process, and what it tells.

        `ran`: its steps with their times, in order; `came`: those of them with a reading of the series; `at`: when it arrived.
        """
        if len(ran) == 1 and self._goes_on(memory, process, ran[0][0], came, at):  # nearly always
            step, time = ran[0]
            return AbsenceMemory(process, step, step, time, at), []
        told: list[Verdict] = []
        if memory.process != process:
            if not came:
                return memory, told
            memory, told = self.look(memory, at)
            memory = AbsenceMemory(process, arrived=memory.arrived, silent=memory.silent)
        else:
            memory, told = self.look(memory, at)
        last, top, top_at, silent = memory.last, memory.top, memory.top_at, memory.silent
        for step, time in ran:
            ahead = top is None or step > top
            missed = 0 if top is None or last is None or not ahead else top - last
            if top is not None and self.steps is not None and missed > self.steps and not silent:
                silent = True
                told.append(Verdict(True, top, top_at, f"{missed:,} steps without a reading"))
            if step in came:
                last = step if last is None else max(last, step)
                if silent:
                    silent = False
                    told.append(Verdict(False, step, time, "it is heard again"))
            if ahead:
                top, top_at = step, time
        arrived = at if came else memory.arrived
        return AbsenceMemory(process, last, top, top_at, arrived, silent), told

    def _goes_on(
        self, memory: AbsenceMemory, process: Process, step: int, came: Collection[int], at: float
    ) -> bool:
        """True when the series came with the next step of its process and in time, and was not silent: then only that is remembered."""
        last, top, arrived = memory.last, memory.top, memory.arrived
        return (
            memory.process == process
            and not memory.silent
            and step in came
            and (
                top is None
                or last is None
                or (step > top and (self.steps is None or top - last <= self.steps))
            )
            and (self.seconds is None or arrived is None or at <= arrived + self.seconds)
        )

    def look(self, memory: AbsenceMemory, now: float) -> tuple[AbsenceMemory, list[Verdict]]:
        """The memory when nothing has arrived until now, and what that tells."""
        due = self.due(memory)
        if due is None or now <= due:
            return memory, []
        told = Verdict(True, memory.last or 0, due, f"nothing arrived for {self.seconds:,.0f} s")
        return memory._replace(silent=True), [told]

    def due(self, memory: AbsenceMemory) -> float | None:
        """When it will be silent if nothing arrives; None: it is, or waits for steps alone."""
        if self.seconds is None or memory.arrived is None or memory.silent:
            return None
        return memory.arrived + self.seconds

    def dump(self, memory: AbsenceMemory) -> dict[str, Any]:
        """As JSON."""
        process = None if memory.process is None else list(memory.process)
        return {**memory._asdict(), "process": process}

    def load(self, stored: Mapping[str, Any]) -> AbsenceMemory:
        """From JSON."""
        if stored.keys() != self.dump(self.initial()).keys():
            return self.initial()
        attempt_and_writer = stored["process"]
        process = None if attempt_and_writer is None else (attempt_and_writer[0], attempt_and_writer[1])
        return AbsenceMemory(**{**stored, "process": process})
