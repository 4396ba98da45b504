"""A place where tensors are measured: decides whether this call is the one to record, and puts its numbers in its row."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from foreshock.series import SeriesSpec


class Spending:
    """Adds up the seconds of the blocks that it surrounds; of nested ones the outermost counts."""

    __slots__ = ("_began", "_depth", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0
        self._began = 0.0

    def __enter__(self) -> None:
        if self._depth == 0:
            self._began = time.perf_counter()
        self._depth += 1

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._began


class Clock:
    """What all sites of one run share: the open step, which kinds are due in it, who has recorded, what it cost."""

    def __init__(self, every: Mapping[str, int]) -> None:
        for kind, period in every.items():
            if period < 0:
                raise ValueError(
                    f"every[{kind!r}] is {period}; use 1 for every step, 10 for one step in ten, 0 for never"
                )
        self.every = dict(every)
        self.opened = (
            0  # steps opened since the start, not the user's step number: a resumed run begins with a record
        )
        self.recorded: dict[Site, bool] = {}  # -> whether the recorded call belonged to training
        self.spending = Spending()
        self.closed = False

    @property
    def seconds(self) -> float:
        """Spent on the training thread so far."""
        return self.spending.seconds

    def due(self, kind: str) -> bool:
        """True when sites of this kind record in the open step."""
        period = self.every[kind]
        return period > 0 and self.opened % period == 0

    def advance(self) -> None:
        """Close the open step: nobody has recorded in the next one yet."""
        self.opened += 1
        self.recorded.clear()


class Site:
    """One measurement of one place: some tensors in, one float32 row of fixed length kept until the step closes.

    The first call of a step is recorded. A call without gradients (a rollout, a validation batch) counts only at
    places that have never been seen with gradients, so generation with the same model does not stand for training.
    """

    def __init__(
        self,
        place: str,
        kind: str,
        specs: Sequence[SeriesSpec],
        measure: Callable[[Sequence[Tensor]], Tensor],
        clock: Clock,
        device: torch.device,
    ) -> None:
        self.place = place
        self.kind = kind
        self.specs = tuple(specs)
        self.measure = measure
        self.clock = clock
        self.row = _new_row(len(self.specs), device)
        self.index = -1  # given by the registry in op.py
        self.calls = 0  # heartbeat: a hook that a compiled graph ignores leaves this at zero
        self.trains = False
        self.off = False  # after its first exception

    def wanted(self, trained: bool) -> bool:
        """True when this call is to be recorded; counts the call either way."""
        self.calls += 1
        if self.off or self.clock.closed or not self.clock.due(self.kind):
            return False
        if torch._C._current_graph_task_id() != -1:  # inside backward: a checkpoint's recomputation
            return False
        before = self.clock.recorded.get(self)
        if trained:
            self.trains = True
            return not before  # a rollout recorded earlier in this step gives way
        return before is None and not self.trains

    def take(self, tensors: Sequence[Tensor], row: Tensor, trained: bool) -> None:
        """Measure into ``row`` (the site's own, or what a compiled graph keeps in its stead)."""
        with self.clock.spending, torch.no_grad(), full_precision(row.device.type):
            values = self.measure(tensors)
            if values.device == row.device:
                row.copy_(values)
            else:  # the model was moved after watch(): the next call gets the new row
                self.row = _new_row(len(values), values.device).copy_(values)
        self.clock.recorded[self] = trained


def _new_row(length: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a tensor made in inference mode could not be written outside it
        return torch.zeros(length, dtype=torch.float32, device=device)


def full_precision(device_type: str) -> AbstractContextManager[Any]:
    """Autocast off inside, at no cost when it is off already."""
    if torch.is_autocast_enabled("cuda") or torch.is_autocast_enabled("cpu"):
        return torch.autocast(device_type, enabled=False)
    return _as_it_is


_as_it_is = nullcontext()
