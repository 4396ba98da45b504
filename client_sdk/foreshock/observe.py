"""A run's instruments: tensors and modules of the training loop in, finished rows of readings out, nothing ever awaited."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .collector import Collector, DeviceRing, HostCollector
from .finish import StepRow
from .op import forget, observe, register
from .probes import policy as policy_inputs
from .series import FrameSpec, SeriesSpec
from .site import Clock, Site
from .statistics import policy as policy_statistics
from .statistics.table import TRAINING

EVERY: Mapping[str, int] = {
    "policy": 1,
    "activations": 10,
    "optimiser": 10,
    "features": 1,
    "views": 1,
    "log": 1,
}
FRAMES = 64  # distinct sets of sites; beyond that each site becomes a frame of its own
SEED = 0x5E15  # of the private generators: the user's random numbers are never touched


@dataclass(frozen=True)
class _Note:
    step: int
    time: float
    sites: tuple[Site, ...]


class Instruments:
    """Measures what it is shown, gathers it when the step closes, and hands on what has arrived."""

    def __init__(
        self,
        *,
        every: Mapping[str, int] | None = None,
        rank: int = 0,
        world_size: int = 1,
        on_row: Callable[[StepRow], None],
    ) -> None:
        unknown = set(every or {}) - set(EVERY)
        if unknown:
            raise ValueError(f"every names {sorted(unknown)}; it can name {sorted(EVERY)}")
        self._clock = Clock({**EVERY, **(every or {})})
        self._labels = (("rank", str(rank)),) if world_size > 1 else ()
        self._on_row = on_row
        self._sites: dict[object, Site] = {}
        self._frames: dict[tuple[int, ...], FrameSpec] = {}
        self._collectors: dict[torch.device, Collector[_Note]] = {}
        self._generators: dict[torch.device, torch.Generator] = {}
        self._closed = False

    @property
    def cost(self) -> float:
        """Seconds spent on the training thread so far."""
        return self._clock.seconds

    @property
    def dropped(self) -> int:
        """Readings lost because the device did not get rid of earlier ones in time."""
        return sum(collector.dropped for collector in self._collectors.values())

    def observe_policy(
        self,
        logits: Tensor,
        *,
        mask: Tensor | None = None,
        actions: Tensor | None = None,
        advantages: Tensor | None = None,
        logprobs: Tensor | None = None,
        old_logprobs: Tensor | None = None,
        ref_logprobs: Tensor | None = None,
        rewards: Tensor | None = None,
        groups: Tensor | int | None = None,
    ) -> None:
        """Measure a policy's batch; the first call of a step counts, so show the whole batch once if you can.

        ``logits`` [sequences, tokens, vocabulary] or [tokens, vocabulary], divided by the temperature of the sampler.
        ``logprobs`` of the ``actions`` under the policy may be given; else they are computed from the logits.
        """
        if self._closed or not self._clock.due("policy"):
            return
        started = time.perf_counter()
        flat = policy_inputs.flatten(
            logits,
            mask=mask,
            actions=actions,
            logprobs=logprobs,
            old_logprobs=old_logprobs,
            ref_logprobs=ref_logprobs,
            advantages=advantages,
            rewards=rewards,
            groups=groups,
        )
        most = policy_inputs.tokens_at_most(logits.shape[-1])
        if len(flat["valid"]) > most:
            flat["uniform"] = self._uniform(len(flat["valid"]), logits.device)
        names = tuple(flat)

        def measure(tensors: Sequence[Tensor]) -> Tensor:
            return policy_statistics.measure(dict(zip(names, tensors, strict=True)), most)

        key = ("policy", names, logits.device)
        site = self._sites.get(key) or self._add(
            key,
            Site(
                "policy",
                "policy",
                self._named(policy_statistics.series(names)),
                measure,
                self._clock,
                logits.device,
            ),
        )
        self._clock.seconds += time.perf_counter() - started
        observe(list(flat.values()), site.row, site.index, True)

    def log_tensor(self, name: str, tensor: Tensor) -> None:
        """Put a 0-d tensor into this step's row without looking at it; the last one of a step counts."""
        if tensor.numel() != 1:
            raise ValueError(f"{name} has shape {list(tensor.shape)}; log one number: {name}.mean()")
        if self._closed:
            return
        started = time.perf_counter()
        tensor = tensor.detach()
        key = ("log", name, tensor.device)
        site = self._sites.get(key)
        if site is None:
            spec = SeriesSpec(statistic=name, family=TRAINING, labels=self._labels)
            site = self._add(key, Site(name, "log", [spec], lambda xs: xs[0], self._clock, tensor.device))
        site.row.copy_(tensor.reshape(1))
        self._clock.recorded[site] = True
        self._clock.seconds += time.perf_counter() - started

    def step(self, step: int, time: float) -> None:
        """Close the step: send its row on its way, hand on the rows that have arrived. Never waits."""
        if self._closed:
            return
        started = _now()
        by_device: dict[torch.device, list[Site]] = {}
        for site in sorted(self._clock.recorded, key=lambda site: site.index):
            by_device.setdefault(site.row.device, []).append(site)
        for device, sites in by_device.items():
            self._collector(device).send([site.row for site in sites], _Note(step, time, tuple(sites)))
        self._clock.advance()
        self._hand_on()
        self._clock.seconds += _now() - started

    def close(self, deadline: float) -> None:
        """Remove every hook, wait at most ``deadline`` seconds for the rows under way, hand them on."""
        self._closed = self._clock.closed = True
        for site in self._sites.values():
            forget(site)
        until = _now() + deadline
        self._hand_on()
        while any(collector.waiting() for collector in self._collectors.values()) and _now() < until:
            time.sleep(0.002)
            self._hand_on()

    def _add(self, key: object, site: Site) -> Site:
        self._sites[key] = register(site)
        return site

    def _named(self, specs: Sequence[SeriesSpec]) -> list[SeriesSpec]:
        if not self._labels:
            return list(specs)
        return [replace(spec, labels=tuple(sorted((*spec.labels, *self._labels)))) for spec in specs]

    def _uniform(self, count: int, device: torch.device) -> Tensor:
        generator = self._generators.get(device)
        if generator is None:
            generator = self._generators[device] = torch.Generator(device).manual_seed(SEED)
        return torch.rand(count, generator=generator, device=device)

    def _collector(self, device: torch.device) -> Collector[_Note]:
        found = self._collectors.get(device)
        if found is None:
            if device.type == "cuda":
                from .cuda import CudaPrimitives  # needs a device to exist

                found = DeviceRing(CudaPrimitives(device))
            else:
                found = HostCollector()
            self._collectors[device] = found
        return found

    def _frame(self, sites: Sequence[Site]) -> FrameSpec:
        key = tuple(site.index for site in sites)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = FrameSpec(tuple(spec for site in sites for spec in site.specs))
        return frame

    def _hand_on(self) -> None:
        for collector in self._collectors.values():
            for note, values in collector.poll():
                self._on_row(StepRow(note.step, note.time, self._frame(note.sites), values))


_now = time.perf_counter
