"""What a live run is made of: numbers and steps in, rows on their way out; unguarded, so that Run can guard it as one."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .config import Config
from .control import Control
from .guard import guard, say_once
from .intake import Intake
from .pipeline import Ended, Pipeline
from .record.monitor import Gauges
from .record.packing import HostRow, Writer
from .send.transport import Transport

if TYPE_CHECKING:
    import torch

    from .measure.finish import StepRow
    from .measure.instruments import Instruments

_DEVICE, _HOOKS = guard("closing the device's row"), guard("removing the hooks")
_INT64 = range(-(2**63), 2**63)


class Session:
    """One life of a run, from init to finish, in the process that began it."""

    def __init__(
        self,
        config: Config,
        run: str,
        writer: Writer,
        body: Mapping[str, Any],
        control: Control,
        *,
        place: tuple[int, int],
        transport: Transport | None,
        on_disk: bool,
        slow_facts: Any,
    ) -> None:
        self.pipeline = Pipeline(
            config,
            run,
            writer,
            body,
            control,
            transport=transport,
            on_disk=on_disk,
            slow_facts=slow_facts,
            device_drops=self._device_drops,
            gauges=self._gauges,
        )
        self.wall_seconds = 0.0  # since the first step was closed
        self._intake = Intake(run, self.pipeline.losses, self._log_tensor)
        self._config = config
        self._run = run
        self._place = place
        self._instruments: Instruments | None = None
        self._failure: Exception | None = None
        self._paused = False
        self._last_step = -1
        self._first: tuple[float, float] | None = (
            None  # when the first step was closed; what we had cost by then
        )
        self._own = 0.0  # seconds of the training thread, without those of the instruments

    def log(self, numbers: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        """Add to the step in course."""
        began, before = time.perf_counter(), self._within
        try:
            if numbers:
                self._intake.take(numbers)
            if more:
                self._intake.take(more)
        finally:
            self._own += time.perf_counter() - began - (self._within - before)

    def step(self, given: object = None) -> None:
        """Close the step in course."""
        began = time.perf_counter()
        now = time.time()
        step = self._last_step = self._numbered(given)
        if self._first is None:
            self._first = (began, self._own + self._theirs)
        self.wall_seconds = began - self._first[0]
        before = self._within
        if self._instruments is not None:
            with _DEVICE:
                self._instruments.step(step, now, self._own)
        logged, vectors = self._intake.close(), self._intake.close_vectors()
        readings = len(logged) + sum(map(len, vectors.values())) if vectors else len(logged)
        self.pipeline.put(
            HostRow(step, now, logged, self.wall_seconds, self.training_seconds, vectors), readings
        )
        self._own += time.perf_counter() - began - (self._within - before)

    def record(self, numbers: Mapping[str, float]) -> None:
        """Add to the step that was closed last, or to step 0 before any was."""
        now = HostRow(
            max(0, self._last_step), time.time(), dict(numbers), self.wall_seconds, self.training_seconds
        )
        self.pipeline.put(now, len(numbers))

    @property
    def last_step(self) -> int:
        """The step that was closed last; -1 before any was."""
        return self._last_step

    @property
    def rank(self) -> int:
        """Of this process in its job."""
        return self._place[0]

    @property
    def training_seconds(self) -> float:
        """What we took of the training thread since the first step was closed."""
        return self._own + self._theirs - self._first[1] if self._first is not None else 0.0

    @property
    def _theirs(self) -> float:
        return self._instruments.cost if self._instruments is not None else 0.0

    @property
    def _within(self) -> float:
        """What the instruments have measured of themselves inside our calls, and which is not ours to count again."""
        return self._instruments.within if self._instruments is not None else 0.0

    def instruments(self) -> Instruments:
        """Made when first needed: only they import torch."""
        if self._instruments is None:
            if self._failure is not None:  # an import that fails would be tried at each call
                raise self._failure.with_traceback(None)
            try:
                self._instruments = self._made()
            except Exception as failure:
                self._failure = failure
                raise
            if self._paused:
                self._instruments.pause()
        return self._instruments

    def _made(self) -> Instruments:
        from .measure.instruments import Instruments

        rank, world_size = self._place
        return Instruments(
            every=self._config.every,
            budget=self._config.budget,
            background=self._background_seconds,
            families=self._config.families,
            ranks=self._config.ranks,
            rank=rank,
            world_size=world_size if rank else 1,  # the first rank keeps plain names
            on_row=self._arrived,
        )

    def pause(self) -> None:
        """Measure nothing until ``resume``."""
        self._paused = True
        if self._instruments is not None:
            self._instruments.pause()

    def resume(self) -> None:
        """Measure again, also what had been given up for its cost."""
        self._paused = False
        if self._instruments is not None:
            self._instruments.resume()

    def finish(self, state: str) -> Ended:
        """Deliver what is left, within the time of the settings."""
        deadline = time.monotonic() + self._config.flush_seconds
        if self._intake:
            self.step(None)
        if self._instruments is not None:
            with _HOOKS:
                self._instruments.close(self._config.flush_seconds / 2)
        return self.pipeline.finish(state, max(0.0, deadline - time.monotonic()))

    def _numbered(self, given: object) -> int:
        following = self._last_step + 1
        if given is None:
            return following
        try:
            step: int | None = operator.index(given)  # type: ignore[arg-type] # that it may be no number is what we ask
        except TypeError:
            step = int(given) if isinstance(given, float) and given.is_integer() else None
        if step is None or step not in _INT64:
            say_once(("step", self._run), "step(%.60r) is no step number; it is kept as %d", given, following)
            return following
        if step < self._last_step:
            say_once(
                ("back", self._run),
                "step(%d) came after step %d; it is kept, but rules read steps forwards",
                step,
                self._last_step,
            )
        return step

    def _arrived(self, row: StepRow) -> None:
        self.pipeline.put(row, len(row.values))

    def _log_tensor(self, name: str, tensor: torch.Tensor) -> None:
        from .measure.shown.logged import log

        log(self.instruments().sites, name, tensor)

    def _background_seconds(self) -> float:
        return self.pipeline.recorder.background_seconds

    def _gauges(self) -> Gauges:
        instruments = self._instruments
        if instruments is None:
            return Gauges(level=-1 if self._paused else 1)
        used = instruments.governor.used if instruments.governor is not None else math.nan
        return Gauges(instruments.level, instruments.skipped, used, instruments.memory)

    def _device_drops(self) -> int:
        return self._instruments.dropped if self._instruments is not None else 0
