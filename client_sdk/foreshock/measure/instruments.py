"""A run's instruments: what is watched and shown becomes rows when a step closes; nothing is ever awaited."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn
from torch.optim.optimizer import Optimizer
from torch.utils.hooks import RemovableHandle

from foreshock.guard import say_once

from .assembly import Assembly, new_collector
from .finish import StepRow
from .probes.all import planned
from .probes.choose import innermost
from .probes.subject import Subject
from .probes.table import Watched, WatchTable
from .site import Site
from .sites import Sites
from .spectra import Spectra

__all__ = ["Instruments", "StepRow", "WatchTable"]

UNSEEN_AFTER = 2  # steps


@dataclass
class _Watched:
    """A model that is watched already."""

    prefix: str
    lines: set[tuple[str, str]] = field(default_factory=set)  # kind and place


class Instruments:
    """Attaches probes, gathers what the sites hold when the step closes, and hands on what has arrived."""

    def __init__(
        self,
        *,
        every: Mapping[str, int] | None = None,
        rank: int = 0,
        world_size: int = 1,
        on_row: Callable[[StepRow], None],
    ) -> None:
        labels = (("rank", str(rank)),) if world_size > 1 else ()
        self.sites = Sites(
            every or {}, labels, lambda clock: Spectra(clock, lambda device: new_collector(device, slots=1))
        )
        self._clock = self.sites.clock
        self._on_row = on_row
        self._assembly = Assembly()
        self._handles: list[RemovableHandle] = []
        self._models: weakref.WeakKeyDictionary[nn.Module, _Watched] = weakref.WeakKeyDictionary()
        self._seen = 0  # models so far
        self._unseen: list[tuple[int, list[Site]]] = []  # (when to look, at what)

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
        optimizer: Optimizer | None = None,
    ) -> WatchTable:
        """Hook the model's blocks, layers or stages and whatever optimizer steps its parameters.

        ``include`` and ``exclude`` are patterns on module names (``*`` one part, ``**`` any). Call it before the first
        compiled call. Called again with the same model it adds places; a second model's begin with ``model2.``.
        """
        if not isinstance(model, nn.Module):
            raise ValueError(f"watch got a {type(model).__name__}; pass a torch.nn.Module")
        root = innermost(model)
        known = self._models.get(root)
        if known is None:
            self._seen += 1  # models come and go; a name is given once
            prefix = "" if self._seen == 1 else f"model{self._seen}."
            known = self._models[root] = _Watched(prefix)
        subject = Subject.of(
            model, prefix=known.prefix, include=include, exclude=tuple(exclude or ()), optimizer=optimizer
        )
        lines: list[Watched] = []
        added: list[Site] = []
        for line in planned(subject):
            if (line.kind, line.place) in known.lines:
                continue
            known.lines.add((line.kind, line.place))
            attached = line.attach(self.sites)
            self._handles += attached.handles
            added += attached.sites
            lines.append(Watched(line.place, line.module, line.measured, self._clock.every[line.kind]))
        self._unseen.append((self._clock.opened + UNSEEN_AFTER, added))
        return WatchTable(tuple(lines))

    def step(self, step: int, time: float) -> None:
        """Close the step: send its row on its way, hand on the rows that have arrived. Never waits."""
        if self._clock.closed:
            return
        with self._clock.spending:
            self._assembly.send(self._clock.recorded, step, time)
            self._clock.advance()
            self.sites.spectra.close_step(step, time)
            self._hand_on()
            if self._unseen:
                self._look_for_silence()

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
        due = [sites for when, sites in self._unseen if when <= self._clock.opened]
        self._unseen = [(when, sites) for when, sites in self._unseen if when > self._clock.opened]
        silent = [site.place for sites in due for site in sites if site.calls == 0]
        if silent:
            say_once(
                ("silent", tuple(silent)),
                "after %d steps nothing has been seen of %s. If the model was compiled and called before run.watch(model),"
                " its graph ignores the hooks: call watch first, or torch._dynamo.reset() after it",
                UNSEEN_AFTER,
                ", ".join(silent),
            )


_now = time.perf_counter
