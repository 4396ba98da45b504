"""The places of one run: made once per subject and input names, shown tensors afterwards; with what measuring them needs beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from foreshock.config import EVERY
from foreshock.series import SeriesSpec

from .governor import Governor
from .layouts import Layouts
from .op import capturing, forget, observe, register
from .probes.embeddings import Embeddings
from .site import Clock, Site
from .spectra import Spectra
from .stopwatch import Stopwatch
from .transfer import moved

SEED = 0x5E15  # of the private generators: the user's random numbers are never touched
SITES = 1024  # in all: names that change with the step must not fill the memory


class Sites:
    """Makes sites and shows them tensors. Of each site the first showing in a step is recorded, so one record is one batch."""

    def __init__(
        self,
        every: Mapping[str, int],
        labels: tuple[tuple[str, str], ...],
        spectra: Callable[[Clock], Spectra],
        governor: Governor | None = None,
        *,
        merging: bool = True,
        rank: int = 0,
    ) -> None:
        unknown = set(every) - set(EVERY)
        if unknown:
            raise ValueError(f"every names {sorted(unknown)}; it can name {sorted(EVERY)}")
        self.clock = Clock({**EVERY, **every}, governor)
        self.spectra = spectra(self.clock)
        self.layouts = Layouts(rank)
        self._labels = labels
        self._merging = merging  # False: the ranks hold different things under one name
        self.measured: set[str] = (
            set()
        )  # statistics without a place: a logged number of such a name is told apart
        self._sites: dict[object, Site] = {}
        self._constants: dict[tuple[str, torch.device], Tensor] = {}
        self._generators: dict[torch.device, torch.Generator] = {}

    def awaits(self, kind: str) -> bool:
        """True when a showing of this kind could be recorded in the open step: ask before preparing tensors."""
        return not self.clock.closed and self.clock.due(kind) and not capturing()

    def site(
        self,
        key: object,
        place: str,
        kind: str,
        specs: Callable[[], Sequence[SeriesSpec]],
        measure: Callable[[Sequence[Tensor]], Tensor],
        device: torch.device,
        *,
        where: str = "",
    ) -> Site:
        """The site of this key, made when it is new: ``measure`` turns the tensors it is shown into one value per spec.

        ``where``: what patterns of layouts are held against, unless it is the place.
        """
        site = self._sites.get(key)
        if site is None:
            made = specs()
            site = self._sites[key] = self._new(place, kind, self.named(made), measure, device)
            site.where = where or place
            if kind != "log":
                self._claim({spec.statistic for spec in made if not spec.place and not spec.labels})
        self.clock.spending.bill(site.turn)
        return site

    def embeddings(
        self,
        key: object,
        place: str,
        kind: str,
        given: tuple[str, ...],
        device: torch.device,
        *,
        channels_first: bool = False,
    ) -> Site:
        """The site of this key that measures the rows of a matrix, its spectrum included."""
        site = self._sites.get(key)
        if site is not None:
            return site
        measure = Embeddings(
            place,
            given,
            kind=kind,
            spectra=self.spectra,
            uniform=self.uniform,
            named=self.named,
            channels_first=channels_first,
        )
        site = self._sites[key] = measure.site = self._new(place, kind, measure.specs(), measure, device)
        return site

    def show(self, site: Site, tensors: list[Tensor]) -> None:
        """Measure these tensors there, if it is the site's turn."""
        if site.layout is None:
            self.layouts.settle_shown(site, tensors[0])
        observe(tensors, site.row, site.ticket, True)

    def named(self, specs: Sequence[SeriesSpec]) -> list[SeriesSpec]:
        """The series with the labels of this process."""
        if not self._merging:
            specs = [replace(spec, merge=None, weight=None) for spec in specs]
        if not self._labels:
            return list(specs)
        return [replace(spec, labels=tuple(sorted((*spec.labels, *self._labels)))) for spec in specs]

    def constant(self, name: str, values: Sequence[float], device: torch.device) -> Tensor:
        """These numbers as a float32 tensor on the device, copied there once."""
        key = (name, device)
        if key not in self._constants:
            self._constants[key] = moved(torch.as_tensor(values, dtype=torch.float32, device="cpu"), device)
        return self._constants[key]

    def uniform(self, count: int, device: torch.device) -> Tensor:
        """Random numbers in [0, 1) from a generator of our own."""
        return torch.rand(count, generator=self.generator(device), device=device)

    def generator(self, device: torch.device) -> torch.Generator:
        """Our own generator of random numbers on this device."""
        generator = self._generators.get(device)
        if generator is None:
            generator = self._generators[device] = torch.Generator(device).manual_seed(SEED)
        return generator

    def forget(self) -> None:
        """The op ignores all of them from now on."""
        for site in self._sites.values():
            forget(site)

    def _claim(self, statistics: set[str]) -> None:
        """These names are ours; what is logged under them begins anew, told apart."""
        self.measured |= statistics
        for key in [
            key for key in self._sites if isinstance(key, tuple) and key[0] == "log" and key[1] in statistics
        ]:
            forget(self._sites.pop(key))

    def _new(
        self, place: str, kind: str, specs: Sequence[SeriesSpec], measure: Any, device: torch.device
    ) -> Site:
        if device.type not in ("cpu", "cuda"):
            raise ValueError(f"{place} is on {device}; what is measured must be on a CPU or a CUDA device")
        if len(self._sites) >= SITES:
            raise ValueError(f"{place} would be the {SITES + 1}th place; use the same names at every step")
        if device.type == "cuda" and self.clock.spending.stopwatch is None:
            self.clock.spending.stopwatch = new_stopwatch(device)
        if self.clock.governor is not None:
            self.clock.governor.is_on(device.type)
        site = register(Site(place, kind, specs, measure, self.clock, device))
        site.layouts = self.layouts
        return site


def new_stopwatch(device: torch.device) -> Stopwatch:
    """The stopwatch of a CUDA device."""
    from .cuda import CudaTiming  # needs a device to exist

    return Stopwatch(CudaTiming(device))
