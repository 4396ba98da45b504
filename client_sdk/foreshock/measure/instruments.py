"""A run's instruments: what is watched and shown becomes rows when a step closes; nothing is ever awaited."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import nn
from torch.optim.optimizer import Optimizer
from torch.utils.hooks import RemovableHandle

from foreshock.guard import guard, say_once

from .assembly import Assembly, new_collector
from .finish import StepRow
from .probes.all import planned, table
from .probes.families import Wishes, choose
from .probes.subject import Planned, Subject
from .probes.table import WatchTable
from .site import Site
from .sites import Sites
from .spectra import Spectra

__all__ = ["Instruments", "StepRow", "WatchTable"]

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
        families: Sequence[str] = (),
        on_row: Callable[[StepRow], None],
    ) -> None:
        labels = (("rank", str(rank)),) if world_size > 1 else ()
        self.sites = Sites(
            every or {}, labels, lambda clock: Spectra(clock, lambda device: new_collector(device, slots=1))
        )
        self._clock = self.sites.clock
        self._fixed = frozenset(every or ())  # kinds whose cadence the user has set
        self._families = tuple(families)
        self._on_row = on_row
        self._assembly = Assembly()
        self._handles: list[RemovableHandle] = []
        self._models: weakref.WeakKeyDictionary[nn.Module, _Watched] = weakref.WeakKeyDictionary()
        self._seen = 0  # models so far
        self._unseen: list[_Unseen] = []

    @property
    def cost(self) -> float:
        """Seconds spent on the training thread so far."""
        return self._clock.seconds

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
    ) -> WatchTable:
        """Hook the model's blocks, layers or stages, whatever else the probes know, and what optimizer steps its parameters.

        ``include`` and ``exclude`` are patterns on module names (``*`` one part, ``**`` any), ``families`` and ``without``
        names of families of the catalogue. Call it before the first compiled call. Called again with the same model it
        adds lines; a second model's places begin with ``model2.``.
        """
        wishes = Wishes.of(self._families if families is None else families, without)
        subject = Subject.of(model, include=include, exclude=tuple(exclude or ()), optimizer=optimizer)
        subject = replace(subject, prefix=self._prefix(subject.root))
        every = self._clock.every
        choice = choose(planned(subject), wishes, every, self._fixed)
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
        self._handles += attached.handles
        self._unseen += [_Unseen(site) for site in attached.sites]

    def step(self, step: int, time: float) -> None:
        """Close the step: send its row on its way, hand on the rows that have arrived. Never waits."""
        if self._clock.closed:
            return
        with self._clock.spending:
            if self._unseen:
                self._look_for_silence()
            self._assembly.send(self._clock.recorded, step, time)
            self._clock.advance()
            self.sites.spectra.close_step(step, time)
            self._hand_on()

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

    def _look_for_silence(self) -> None:
        """Say of which places nothing came in two of the steps that they were due in; asked before such a step closes."""
        waiting = [one for one in self._unseen if one.site.calls == 0]
        for one in waiting:
            one.steps += self._clock.due(one.site.kind)
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


_now = time.perf_counter
