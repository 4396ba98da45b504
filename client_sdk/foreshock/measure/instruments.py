"""A run's instruments: what is watched and shown becomes rows when a step closes; nothing is ever awaited."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer
from torch.utils.hooks import RemovableHandle

from foreshock.guard import say_once
from foreshock.series import SeriesSpec

from .assembly import Assembly, new_collector
from .finish import StepRow
from .probes.activations import attach
from .probes.choose import innermost, places
from .probes.optimiser import OptimiserProbe
from .probes.table import Watched, WatchTable
from .site import Site
from .sites import Sites
from .spectra import Spectra

__all__ = ["Instruments", "StepRow", "WatchTable"]

UNSEEN_AFTER = 2  # steps


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
        self._watched: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # modules with a hook
        self._models: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()  # -> prefix
        self._prefixes = 0
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
        seen = root in self._models
        if not seen:
            self._prefixes += 1
            self._models[root] = "" if self._prefixes == 1 else f"model{self._prefixes}."
        prefix = self._models[root]
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        lines, added = [], []
        for place in places(model, include, exclude):
            if place.module in self._watched:
                continue
            self._watched.add(place.module)
            name = prefix + (place.name or "model")
            site = self.sites.embeddings(
                ("activations", name),
                name,
                "activations",
                ("x",),
                device,
                channels_first=place.channels_first,
            )
            self._handles.append(attach(place, site))
            added.append(site)
            every = self._clock.every["activations"]
            lines.append(
                Watched(name, type(place.module).__name__, "activations: ranks, spread, non-finite", every)
            )
        probe = OptimiserProbe(root, prefix, self._clock, self._optimiser_site, optimizer)
        if not seen:
            self._handles += probe.attach()
        every = self._clock.every["optimiser"]
        lines += [
            Watched(name, "parameters", "gradients, weights, updates", every) for name in probe.places()
        ]
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

    def _optimiser_site(
        self, key: object, place: str, specs: Sequence[SeriesSpec], device: torch.device
    ) -> Site:
        return self.sites.site(
            ("optimiser", key, device), place, "optimiser", lambda: specs, _nothing, device
        )

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


def _nothing(tensors: Sequence[Tensor]) -> Tensor:
    raise AssertionError("an optimizer's row is written by its hooks")


_now = time.perf_counter
