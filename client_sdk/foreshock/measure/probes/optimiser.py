"""The optimizer's step in; norms of gradients and weights before it, and how far it moved the weights, out."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from foreshock.guard import guard
from foreshock.measure.site import Site
from foreshock.measure.statistics import parameters
from foreshock.measure.statistics.table import STATISTICS
from foreshock.series import SeriesSpec

from .choose import block_names, parameter_name, place_of
from .subject import Attached, Planned, Subject

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites


def plan(subject: Subject) -> list[Planned]:
    """The parameters of each block, read when an optimizer steps them; one set of hooks serves them all."""
    probe = OptimiserProbe(subject.root, subject.prefix, subject.optimizer)
    return [
        Planned(
            place=place,
            module="parameters",
            measured="gradients, weights, updates",
            family="optimiser",
            kind="optimiser",
            attach=probe.attach,
        )
        for place in probe.places()
    ]


@dataclass
class _Taken:
    """What was read before the update and waits for what is read after it."""

    site: Site
    values: Tensor
    weights: list[list[Tensor]]
    before: list[Tensor]


class OptimiserProbe:
    """Reads a model's parameters when an optimizer that holds them steps; the first step of an open step counts.

    Gradients are read as the optimizer gets them: averaged over ranks, unscaled by a GradScaler (which does not step,
    and so is not seen, when it finds an overflow), and after the loop's own clipping. A fused optimizer that unscales
    by itself is the exception: its gradients are still scaled. Of a sharded model each rank reads its shard.
    """

    def __init__(
        self,
        model: nn.Module,
        prefix: str,
        only: Optimizer | None = None,
    ) -> None:
        self._model = weakref.ref(model)  # a model that is gone must be gone
        self._prefix = prefix
        self._sites: Sites | None = None  # once attached
        self._only = only
        self._taken: dict[int, list[_Taken]] = {}
        self._places: dict[str, str] = {}  # of the parameters, by name
        self._order: list[int] = []  # of the optimizers, as they first stepped

    def attach(self, sites: Sites) -> Attached:
        """Hooks on every optimizer, or on the one given; those that hold none of the model's parameters are let pass."""
        if self._sites is not None:
            return Attached()
        self._sites = sites
        if self._only is not None:
            return Attached(
                [
                    self._only.register_step_pre_hook(self._before),
                    self._only.register_step_post_hook(self._after),
                ]
            )
        return Attached(
            [
                register_optimizer_step_pre_hook(self._before),
                register_optimizer_step_post_hook(self._after),
            ]
        )

    def places(self) -> list[str]:
        """The places that the model's parameters are grouped into, in the model's order."""
        return list(dict.fromkeys(place for place, _ in self._named()))

    def _named(self) -> list[tuple[str, nn.Parameter]]:
        model = self._model()
        if model is None:
            return []
        blocks = clean = None
        named = []
        for name, p in model.named_parameters():
            if name not in self._places:
                if blocks is None or clean is None:
                    blocks, clean = block_names(model), parameter_name(model)
                self._places[name] = self._prefix + place_of(clean(name), blocks)
            named.append((self._places[name], p))
        return named

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        sites = self._sites
        if sites is None or not sites.awaits("optimiser"):
            return
        with guard("the optimizer's hook, before the step"), sites.clock.spending:
            self._taken.pop(id(optimizer), None)
            with torch.no_grad():
                taken = [
                    self._read(sites, optimizer, device, named)
                    for device, named in self._by_device(optimizer).items()
                ]
            self._taken[id(optimizer)] = [one for one in taken if one is not None]

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        taken = self._taken.pop(id(optimizer), None)
        sites = self._sites
        if not taken or sites is None or sites.clock.closed:
            return
        with guard("the optimizer's hook, after the step"), sites.clock.spending, torch.no_grad():
            for one in taken:
                ratios = parameters.update_ratios(
                    one.before, parameters.samples(parameters.merged(one.weights))
                )
                one.site.row.copy_(torch.cat([one.values, ratios]))
                sites.clock.recorded[one.site] = True

    def _by_device(self, optimizer: Optimizer) -> dict[torch.device, list[tuple[str, Tensor, Tensor]]]:
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        found: dict[torch.device, list[tuple[str, Tensor, Tensor]]] = {}
        for place, p in self._named():
            gradient = p.grad
            if id(p) not in held or gradient is None or gradient.is_sparse or not p.numel():
                continue
            weight, gradient = _local(p.detach()), _local(gradient.detach())
            if weight.numel():
                found.setdefault(weight.device, []).append((place, weight, gradient))
        return found

    def _read(
        self,
        sites: Sites,
        optimizer: Optimizer,
        device: torch.device,
        named: list[tuple[str, Tensor, Tensor]],
    ) -> _Taken | None:
        places = list(dict.fromkeys(place for place, _, _ in named))
        weights = [[weight for at, weight, _ in named if at == place] for place in places]
        gradients = [[gradient for at, _, gradient in named if at == place] for place in places]
        if id(optimizer) not in self._order:
            self._order.append(id(optimizer))
        number = self._order.index(id(optimizer))
        labels = {"optimizer": str(number)} if number else {}
        site = sites.site(
            ("optimiser", id(self), number, tuple(places), device),
            "optimiser",
            "optimiser",
            lambda: series(places, labels),
            _nothing,
            device,
        )
        if site in sites.clock.recorded:
            return None
        few_gradients, few_weights = parameters.merged(gradients), parameters.merged(weights)
        values = torch.cat(
            [
                parameters.norms(few_gradients),
                parameters.norms(few_weights),
                parameters.counts(few_gradients),
                parameters.counts(few_weights),
            ]
        )
        return _Taken(site, values, weights, parameters.samples(few_weights))


def series(places: Sequence[str], labels: dict[str, str]) -> list[SeriesSpec]:
    """What one optimizer's row holds, in order; the norm over all places has no place."""
    norm = [
        [STATISTICS[name].series(place, labels) for place in (*places, "")]
        for name in ("gradient_norm", "weight_norm", "update_ratio")
    ]
    count = [
        STATISTICS["nonfinite_count"].series(place, {**labels, "tensor": tensor})
        for tensor in ("gradient", "weight")
        for place in places
    ]
    return [*norm[0], *norm[1], *count, *norm[2]]


def _nothing(tensors: Sequence[Tensor]) -> Tensor:
    raise AssertionError("an optimizer's row is written by its hooks")


def _local(tensor: Tensor) -> Tensor:
    to_local: Callable[[], Tensor] | None = getattr(tensor, "to_local", None)
    return to_local() if to_local is not None else tensor
