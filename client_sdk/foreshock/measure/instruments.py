"""A run's instruments: what is watched and shown becomes rows when a step closes; nothing is ever awaited."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn
from torch.optim.optimizer import Optimizer
from torch.utils.hooks import RemovableHandle

from foreshock.guard import guard, say_once

from .assembly import Assembly, new_collector
from .finish import StepRow
from .governor import Governor
from .layouts import declared
from .memory import held
from .op import passing_seconds
from .probes.all import planned, table
from .probes.families import Wishes, choose
from .probes.subject import Planned, Subject
from .probes.table import WatchTable
from .site import Site
from .sites import Sites
from .spectra import SHARE, Spectra

__all__ = ["Instruments", "StepRow", "WatchTable"]

LOOK = 16  # steps between looks at what letting calls pass costs, and at the memory
HOOK = 1.5  # times the op's own seconds: what a call costs with the Python of its hook
SPECTRAL = 1 / 3  # of the budget, at most, for eigenvalues where these take their time from the training
MEMORY_SECONDS = 10.0  # between two counts of our memory, and more where counting takes long
UNSEEN_AFTER = 2  # steps in which a place should have been measured


@dataclass
class _Watched:
    """A model that is watched already."""

    prefix: str
    lines: set[tuple[str, str, str]] = field(default_factory=set)  # kind, place and what is measured there


@dataclass
class _Unseen:
    """A place that nothing has been heard of, and in how many of its steps."""

    site: Site
    steps: int = 0


class Instruments:
    """Attaches probes, gathers what the sites hold when the step closes, and hands on what has arrived."""

    def __init__(
        self,
        *,
        every: Mapping[str, int] | None = None,
        rank: int = 0,
        world_size: int = 1,
        ranks: str = "data",
        families: Sequence[str] = (),
        budget: float | None = 0.0,
        background: Callable[[], float] = lambda: 0.0,
        on_row: Callable[[StepRow], None],
    ) -> None:
        """``ranks`` see rows of one kind each ("data": their readings are merged, and the eigenvalues are the first rank's
        alone), or hold parts of one "model" that nothing merges. ``budget`` in percent of the training's time, None for the device's default, 0 for no limit; ``background`` tells the
        CPU seconds that we have taken beside the training thread."""
        labels = (("rank", str(rank)),) if world_size > 1 else ()
        self.governor = Governor(budget, background=background, competes=competes) if budget != 0 else None
        self.sites = Sites(
            every or {},
            labels,
            lambda clock: Spectra(
                clock,
                lambda device: new_collector(device, slots=1),
                wanted=rank == 0 or ranks == "model",
            ),
            self.governor,
            merging=ranks == "data",
            rank=rank,
        )
        self.memory = 0  # bytes that we hold in the training process and on its devices, as last counted
        self._clock = self.sites.clock
        self._fixed = frozenset(every or ())  # kinds whose cadence the user has set
        self._families = tuple(families)
        self._on_row = on_row
        self._assembly = Assembly()
        self._handles: list[RemovableHandle] = []
        self._models: weakref.WeakKeyDictionary[nn.Module, _Watched] = weakref.WeakKeyDictionary()
        self._seen = 0  # models so far
        self._unseen: list[_Unseen] = []
        self._steps = 0
        self._count_at = 0.0  # when our memory is counted again
        self._owners: weakref.WeakSet[object] = weakref.WeakSet()  # of state, which only their hooks keep

    @property
    def cost(self) -> float:
        """Seconds taken from the training so far: of its thread, and of its device where that took longer."""
        return self._clock.seconds

    @property
    def within(self) -> float:
        """Of these, the seconds spent in blocks of ours on the training thread: the part that a clock around a call sees too."""
        return self._clock.spending.seconds

    @property
    def level(self) -> int:
        """1: all is measured that can be afforded. 0: what is essential. -1: nothing but logged tensors."""
        if self._clock.paused:
            return -1
        return self.governor.level if self.governor is not None else 1

    @property
    def skipped(self) -> int:
        """Records that were due and not made, for they would have cost too much."""
        return self._clock.turns.skipped + self.sites.spectra.skipped

    @property
    def dropped(self) -> int:
        """Readings lost because the device did not get rid of earlier ones in time."""
        return self._assembly.dropped + self.sites.spectra.dropped

    def watch(
        self,
        model: nn.Module,
        *,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        families: Sequence[str] | None = None,
        without: Sequence[str] = (),
        optimizer: Optimizer | None = None,
        layout: Mapping[str, object] | None = None,
    ) -> WatchTable:
        """Hook the model's blocks, layers or stages, whatever else the probes know, and what optimizer steps its parameters.

        ``include`` and ``exclude`` are patterns on module names (``*`` one part, ``**`` any), ``families`` and ``without``
        names of families of the catalogue, ``layout`` patterns on places to "replicated", "rows" or "columns". Call it before the first compiled call. Called again with the same model it
        adds lines; a second model's places begin with ``model2.``.
        """
        guard_hooks()
        wishes = Wishes.of(self._families if families is None else families, without)
        subject = Subject.of(
            model,
            include=include,
            exclude=tuple(exclude or ()),
            optimizer=optimizer,
            layout=declared(layout),
        )
        subject = replace(subject, prefix=self._prefix(subject.root))
        every = self._clock.every
        plan = planned(subject)
        choice = choose(plan, wishes, every, self._fixed)
        self.sites.layouts.add(subject.root, subject.prefix, subject.layout)
        every.update(choice.switched_on)
        known = self._models[subject.root].lines
        new = [line for line in choice.lines if (line.kind, line.place, line.measured) not in known]
        for line in new:
            known.add((line.kind, line.place, line.measured))
            with guard(f"watching {line.place}"):
                self._attach(line)
        return table(subject, choice, every, new)

    def _prefix(self, root: nn.Module) -> str:
        """What the names of this model's places begin with."""
        known = self._models.get(root)
        if known is None:
            self._seen += 1  # models come and go; a name is given once
            prefix = "" if self._seen == 1 else f"model{self._seen}."
            known = self._models[root] = _Watched(prefix)
        return known.prefix

    def _attach(self, line: Planned) -> None:
        attached = line.attach(self.sites)
        owner = getattr(getattr(line.attach, "func", line.attach), "__self__", None)
        if owner is not None:
            self._owners.add(owner)
        self._handles += attached.handles
        self._unseen += [_Unseen(site) for site in attached.sites]

    def step(self, step: int, time: float, elsewhere: float = 0.0) -> None:
        """Close the step: send its row on its way, hand on the rows that have arrived. Never waits.

        ``elsewhere``: the seconds of the training thread that we have taken so far beside the instruments.
        """
        if self._clock.closed:
            return
        with self._clock.spending:
            if self._unseen:
                self._look_for_silence()
            self._assembly.send(self._clock.recorded, step, time)
            if self._steps % LOOK == 0:
                self._look_at_ourselves()
            self._steps += 1
            self._clock.advance(elsewhere)
            self.sites.spectra.close_step(step, time)
            self._hand_on()

    def pause(self) -> None:
        """Measure nothing until ``resume``; hooks stay where they are, logged tensors are recorded."""
        self._clock.paused = True

    def resume(self) -> None:
        """Measure again, also what had been given up for its cost."""
        self._clock.paused = False
        if self.governor is not None:
            self.governor.breaker.reset()

    def close(self, deadline: float) -> None:
        """Remove every hook, wait at most ``deadline`` seconds for the rows under way, hand them on."""
        self._clock.closed = True
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.sites.forget()
        until = _now() + deadline
        self._hand_on()
        while self._assembly.waiting() + self.sites.spectra.waiting() and _now() < until:
            time.sleep(0.002)
            self._hand_on()

    def _hand_on(self) -> None:
        for row in (*self._assembly.arrived(), *self.sites.spectra.arrived()):
            self._on_row(row)

    def _look_at_ourselves(self) -> None:
        clock, governor = self._clock, self.governor
        seconds = HOOK * passing_seconds()
        clock.passing += (seconds - clock.passing) * (0.2 if clock.passing else 1.0)
        if governor is not None:
            squeezed = not governor.on_device and competes()
            self.sites.spectra.share = min(SHARE, SPECTRAL * governor.budget / 100) if squeezed else SHARE
        began = _now()
        if began >= self._count_at:
            self.memory = held(self.sites, self._assembly, *self._owners, beside=(governor,))
            spent = _now() - began
            self._count_at = began + MEMORY_SECONDS + 1000 * spent

    def _look_for_silence(self) -> None:
        """Say of which places nothing came in two of the steps that they were due in; asked before such a step closes."""
        clock = self._clock
        waiting = [one for one in self._unseen if one.site.calls == 0]
        for one in waiting:
            affordable = (
                one.site.turn.open and not clock.paused
            )  # else even a hook that fires may show nothing
            one.steps += affordable and clock.opened % max(1, clock.every[one.site.kind]) == 0
        self._unseen = [one for one in waiting if one.steps < UNSEEN_AFTER]
        silent = [one.site.place for one in waiting if one.steps >= UNSEEN_AFTER]
        if silent:
            say_once(
                ("silent", tuple(silent)),
                "in %d steps in which they should have been measured, nothing has been seen of %s. If the model was compiled and"
                " called before run.watch(model), its graph ignores the hooks: call watch first, or torch._dynamo.reset() after it",
                UNSEEN_AFTER,
                ", ".join(dict.fromkeys(silent)),
            )


def guard_hooks() -> None:
    """Let compiled graphs ask whether a module has hooks before they stand for its call.

    Models of one class share their graphs. Unasked, the graph of a copy without hooks (a reference policy, a moving average)
    takes the place of the watched model's, and from then on nothing is seen of it.
    """
    with guard("asking compiled graphs to look at hooks"):
        from torch._dynamo import config  # making any optimizer has imported it already

        config.skip_nnmodule_hook_guards = False


def competes() -> bool:
    """True when the training's own threads occupy every core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return torch.get_num_threads() >= cores


_now = time.perf_counter
