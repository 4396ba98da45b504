"""A run's instruments: tensors and modules of the training loop in, finished rows of readings out, nothing ever awaited."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer
from torch.utils.hooks import RemovableHandle

from foreshock.guard import say_once
from foreshock.series import SeriesSpec

from .assembly import Assembly, new_collector
from .finish import StepRow
from .op import forget, observe, register
from .probes import features as feature_inputs
from .probes import policy as policy_inputs
from .probes.activations import attach
from .probes.choose import innermost, places
from .probes.embeddings import Embeddings
from .probes.optimiser import OptimiserProbe
from .probes.table import Watched, WatchTable
from .site import Clock, Site
from .spectra import Spectra
from .statistics import embedding
from .statistics import policy as policy_statistics
from .statistics.table import STATISTICS, TRAINING
from .statistics.tokens import LEVELS

__all__ = ["Instruments", "StepRow", "WatchTable"]

EVERY: Mapping[str, int] = {
    "policy": 1,
    "activations": 10,
    "optimiser": 10,
    "features": 1,
    "views": 1,
    "log": 1,
}
SEED = 0x5E15  # of the private generators: the user's random numbers are never touched
SITES = 1024  # in all: names that change with the step must not fill the memory
UNSEEN_AFTER = 2  # steps


class Instruments:
    """Measures what it is shown, gathers it when the step closes, and hands on what has arrived.

    Of each kind the first showing in a step is recorded, so that one record is one batch.
    """

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
        self._assembly = Assembly()
        self._constants: dict[torch.device, Tensor] = {}
        self._generators: dict[torch.device, torch.Generator] = {}
        self._spectra = Spectra(self._clock, lambda device: new_collector(device, slots=1))
        self._handles: list[RemovableHandle] = []
        self._watched: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # modules with a hook
        self._models: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()  # -> prefix
        self._prefixes = 0
        self._unseen: list[tuple[int, list[Site]]] = []  # (when to look, at what)
        self._closed = False

    @property
    def cost(self) -> float:
        """Seconds spent on the training thread so far."""
        return self._clock.seconds

    @property
    def dropped(self) -> int:
        """Readings lost because the device did not get rid of earlier ones in time."""
        return self._assembly.dropped + self._spectra.dropped

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
            site = self._embeddings(
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
        """Measure a policy's batch: entropies, and what else the given tensors allow.

        ``logits`` [sequences, tokens, vocabulary] or [tokens, vocabulary], divided by the sampler's temperature;
        ``mask``, ``actions`` and log-probabilities per token; ``advantages`` per token or sequence; ``rewards`` per
        sequence; ``groups`` one integer per reward, or the size of a group. The log-probabilities of the actions are
        computed from the logits unless ``logprobs`` gives them.
        """
        if self._skips("policy"):
            return
        started = time.perf_counter()
        given, group = policy_inputs.flatten(
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
        if len(given["valid"]) > most:
            given["uniform"] = self._uniform(len(given["valid"]), logits.device)
        given["levels"] = self._levels(logits.device)
        names, device = tuple(given), logits.device

        def measure(tensors: Sequence[Tensor]) -> Tensor:
            return policy_statistics.measure(dict(zip(names, tensors, strict=True)), most, group)

        key = ("policy", names, most, group, device)
        site = self._sites.get(key)
        if site is None:
            specs = policy_statistics.series(names, grouped=group is not None)
            site = self._new_site(key, "policy", "policy", specs, measure, device)
        self._clock.seconds += time.perf_counter() - started
        self._show(site, list(given.values()))

    def observe_features(
        self, name: str, h: Tensor, mask: Tensor | None = None, labels: Tensor | None = None
    ) -> None:
        """Measure features [rows, width] or [batch, tokens, width]; with ``labels`` per row also their class structure."""
        if self._skips("features"):
            return
        given = feature_inputs.flatten(h, mask, labels)
        key = ("features", name, tuple(given), h.device)
        site = self._sites.get(key) or self._embeddings(key, name, "features", tuple(given), h.device)
        self._show(site, list(given.values()))

    def observe_views(self, z1: Tensor, z2: Tensor, name: str = "views") -> None:
        """Measure two views' embeddings [samples, width], row i of both from sample i: each alone, and their distance."""
        if self._skips("views"):
            return
        pair = feature_inputs.pair(z1, z2)
        for z, view in zip(pair, "ab", strict=True):
            key = ("views", name, view, z.device)
            site = self._sites.get(key) or self._embeddings(key, f"{name}.{view}", "views", ("x",), z.device)
            self._show(site, [z])
        key = ("views", name, "pair", z1.device)
        site = self._sites.get(key) or self._new_site(
            key,
            name,
            "views",
            [STATISTICS[s].series(name) for s in embedding.ALIGNMENT],
            _alignment,
            z1.device,
        )
        self._show(site, list(pair))

    def log_tensor(self, name: str, tensor: Tensor) -> None:
        """Put a tensor of one number into this step's row without looking at it; the last of a step counts."""
        if tensor.numel() != 1:
            raise ValueError(f"{name} has shape {list(tensor.shape)}; log one number: {name}.mean()")
        if self._closed:
            return
        started = time.perf_counter()
        key = ("log", name, tensor.device)
        site = self._sites.get(key)
        if site is None:
            spec = SeriesSpec(statistic=name, family=TRAINING)
            site = self._new_site(key, name, "log", [spec], lambda xs: xs[0], tensor.device)
        with torch.no_grad():
            site.row.copy_(tensor.detach().reshape(1))
        self._clock.recorded[site] = True
        self._clock.seconds += time.perf_counter() - started

    def step(self, step: int, time: float) -> None:
        """Close the step: send its row on its way, hand on the rows that have arrived. Never waits."""
        if self._closed:
            return
        started = _now()
        self._assembly.send(self._clock.recorded, step, time)
        self._clock.advance()
        self._spectra.close_step(step, time)
        self._hand_on()
        if self._unseen:
            self._look_for_silence()
        self._clock.seconds += _now() - started

    def close(self, deadline: float) -> None:
        """Remove every hook, wait at most ``deadline`` seconds for the rows under way, hand them on."""
        self._closed = self._clock.closed = True
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for site in self._sites.values():
            forget(site)
        until = _now() + deadline
        self._hand_on()
        while self._assembly.waiting() + self._spectra.waiting() and _now() < until:
            time.sleep(0.002)
            self._hand_on()

    def _skips(self, kind: str) -> bool:
        return self._closed or not self._clock.due(kind)

    def _show(self, site: Site, tensors: list[Tensor]) -> None:
        observe(tensors, site.row, site.index, True)

    def _new_site(
        self,
        key: object,
        place: str,
        kind: str,
        specs: Sequence[SeriesSpec],
        measure: Callable[[Sequence[Tensor]], Tensor],
        device: torch.device,
    ) -> Site:
        if device.type not in ("cpu", "cuda"):
            raise ValueError(f"{place} is on {device}; what is measured must be on a CPU or a CUDA device")
        if len(self._sites) >= SITES:
            raise ValueError(f"{place} would be the {SITES + 1}th place; use the same names at every step")
        site = register(Site(place, kind, self._named(specs), measure, self._clock, device))
        self._sites[key] = site
        return site

    def _embeddings(
        self,
        key: object,
        place: str,
        kind: str,
        given: tuple[str, ...],
        device: torch.device,
        *,
        channels_first: bool = False,
    ) -> Site:
        measure = Embeddings(
            place,
            given,
            source=self._spectra.source(kind),
            spectra=self._spectra,
            uniform=self._uniform,
            named=self._named,
            channels_first=channels_first,
        )
        measure.site = self._new_site(key, place, kind, measure.specs(), measure, device)
        return measure.site

    def _optimiser_site(
        self, key: object, place: str, specs: Sequence[SeriesSpec], device: torch.device
    ) -> Site:
        key = ("optimiser", key, device)
        return self._sites.get(key) or self._new_site(key, place, "optimiser", specs, _nothing, device)

    def _named(self, specs: Sequence[SeriesSpec]) -> list[SeriesSpec]:
        if not self._labels:
            return list(specs)
        return [replace(spec, labels=tuple(sorted((*spec.labels, *self._labels)))) for spec in specs]

    def _levels(self, device: torch.device) -> Tensor:
        if device not in self._constants:
            levels = torch.as_tensor(LEVELS, dtype=torch.float32, device="cpu")
            self._constants[device] = policy_inputs.moved(levels, device)
        return self._constants[device]

    def _uniform(self, count: int, device: torch.device) -> Tensor:
        generator = self._generators.get(device)
        if generator is None:
            generator = self._generators[device] = torch.Generator(device).manual_seed(SEED)
        return torch.rand(count, generator=generator, device=device)

    def _hand_on(self) -> None:
        for row in (*self._assembly.arrived(), *self._spectra.arrived()):
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


def _alignment(tensors: Sequence[Tensor]) -> Tensor:
    a, b = tensors
    return embedding.alignment(a, b, torch.ones(len(a), device=a.device))


def _nothing(tensors: Sequence[Tensor]) -> Tensor:
    raise AssertionError("an optimizer's row is written by its hooks")


_now = time.perf_counter
