"""A place where tensors are measured: decides whether this call is the one to record, and puts its numbers in its row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from .governor import Governor
from .layout import Layout, laid
from .spending import Spending
from .turns import Turns

if TYPE_CHECKING:
    from .layouts import Layouts

UNPREPARED = 0.1  # of a call through the op: what a hook costs that lets its call pass at once


class Clock:
    """What all sites of one run share: the open step, whose turn it is in it, who has recorded, what it cost."""

    def __init__(self, every: Mapping[str, int], governor: Governor | None = None) -> None:
        for kind, period in every.items():
            if period < 0:
                raise ValueError(
                    f"every[{kind!r}] is {period}; use 1 for every step, 10 for one step in ten, 0 for never"
                )
        self.every = dict(every)
        self.opened = (
            0  # steps opened since the start, not the user's step number: a resumed run begins with a record
        )
        self.spending = Spending()
        self.recorded = Recorded(self.spending)  # -> whether the recorded call belonged to training
        self.governor = governor
        self.turns = Turns(self.every, governor)
        if governor is not None:
            governor.governs(self.turns)
        self.passed = 0.0  # calls of the open step that went through the op and were none to record
        self.passing = 0.0  # seconds that such a call takes
        self._let_pass = 0.0  # seconds of earlier ones
        self._device = 0.0  # seconds of the device beyond those of the host
        self.paused = False
        self.closed = False

    @property
    def seconds(self) -> float:
        """Taken from the training so far: of its thread, and of its device where that took longer."""
        return self.spending.seconds + self._let_pass + self._device

    def due(self, kind: str) -> bool:
        """True when a site of this kind may record in the open step."""
        return not self.paused and self.turns.awaited(kind, self.opened)

    def advance(self, elsewhere: float = 0.0) -> None:
        """Close the open step: nobody has recorded in the next one yet. ``elsewhere``: our seconds outside the sites so far."""
        turns = list(dict.fromkeys(site.turn for site in self.recorded))
        self._let_pass += self.passed * self.passing
        self.passed = 0.0
        late = [] if self.spending.stopwatch is None else list(self.spending.stopwatch.passed())
        self._device += sum(seconds for _, seconds in late)
        if self.governor is not None:
            host = self.spending.seconds + self._let_pass + elsewhere
            self.governor.close(turns, host, self.spending.billed, late)
        self.opened += 1
        self.turns.close(turns, self.opened)
        self.recorded.clear()


class Recorded(dict["Site", bool]):
    """The sites that have recorded in the open step; what led there since the last bill is theirs to pay."""

    def __init__(self, spending: Spending) -> None:
        super().__init__()
        self._spending = spending

    def __setitem__(self, site: Site, trained: bool) -> None:
        super().__setitem__(site, trained)
        self._spending.settle(site.turn)


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
        self.turn = clock.turns.of(kind, clock.opened)
        self.row = _new_row(len(self.specs), device)
        self.index = -1  # given by the registry in op.py
        self.ticket: Tensor  # the same as a tensor on the host: what the op is called with
        self.calls = 0  # heartbeat: a hook that a compiled graph ignores leaves this at zero
        self.trains = False
        self.off = False  # after its first exception
        self.where = place  # what patterns of layouts are held against
        self.layouts: Layouts | None = None  # given by the registry in sites.py
        self.layout: Layout | None = None  # which part of the place this rank holds; None: not known yet

    def lay(self, layout: Layout) -> None:
        """Say which part of the place this rank holds, before the first of its rows is sent."""
        self.layout = layout
        self.specs = tuple(laid(self.specs, layout))

    def settled(self, x: Tensor, trained: bool) -> bool:
        """True when it is known which part this rank holds; asked with the first tensor, as long as it is not."""
        if self.layout is not None or self.layouts is None:
            return True
        return self.layouts.settle(self, x, trained=trained)

    def lets_pass(self) -> bool:
        """True, and counted, when no call of the open step is to be recorded: asked by hooks before they prepare anything."""
        if self.turn.open:
            return False
        self.calls += 1
        self.clock.passed += UNPREPARED
        return True

    def wanted(self, trained: bool) -> bool:
        """True when this call is to be recorded; counts the call either way."""
        self.calls += 1
        clock = self.clock
        if not self.turn.open or self.off or clock.paused or clock.closed:
            clock.passed += 1
            return False
        if torch._C._current_graph_task_id() != -1:  # inside backward: a checkpoint's recomputation
            return False
        before = clock.recorded.get(self)
        if trained:
            self.trains = True
            return not before  # a rollout recorded earlier in this step gives way
        return before is None and not self.trains

    def take(self, tensors: Sequence[Tensor], row: Tensor, trained: bool) -> None:
        """Measure into ``row`` (the site's own, or what a compiled graph keeps in its stead)."""
        with self.clock.spending, torch.no_grad(), full_precision(row.device.type):
            self.clock.spending.bill(self.turn)
            if self.layout is None and self.layouts is not None:
                self.layouts.settle_unseen(self, tensors[0])
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
