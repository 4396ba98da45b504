"""The optimizer's step in; norms of gradients and weights before it, and how far it moved the weights, out."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.hooks import RemovableHandle

from foreshock.guard import guard
from foreshock.measure.site import Clock, Site
from foreshock.measure.statistics import parameters
from foreshock.measure.statistics.table import STATISTICS
from foreshock.series import SeriesSpec

from .choose import block_names, parameter_name, place_of


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
        clock: Clock,
        new_site: Callable[[object, str, Sequence[SeriesSpec], torch.device], Site],
        only: Optimizer | None = None,
    ) -> None:
        self._model = weakref.ref(model)  # a model that is gone must be gone
        self._prefix = prefix
        self._clock = clock
        self._new_site = new_site
        self._only = only
        self._taken: dict[int, list[_Taken]] = {}
        self._places: dict[str, str] = {}  # of the parameters, by name
        self._order: list[int] = []  # of the optimizers, as they first stepped

    def attach(self) -> list[RemovableHandle]:
        """Hooks on every optimizer, or on the one given; those that hold none of the model's parameters are let pass."""
        if self._only is not None:
            return [
                self._only.register_step_pre_hook(self._before),
                self._only.register_step_post_hook(self._after),
            ]
        return [
            register_optimizer_step_pre_hook(self._before),
            register_optimizer_step_post_hook(self._after),
        ]

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
        if self._clock.closed or not self._clock.due("optimiser"):
            return
        with guard("the optimizer's hook, before the step"), self._clock.spending:
            self._taken.pop(id(optimizer), None)
            with torch.no_grad():
                taken = [
                    self._read(optimizer, device, named)
                    for device, named in self._by_device(optimizer).items()
                ]
            self._taken[id(optimizer)] = [one for one in taken if one is not None]

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        taken = self._taken.pop(id(optimizer), None)
        if not taken or self._clock.closed:
            return
        with guard("the optimizer's hook, after the step"), self._clock.spending, torch.no_grad():
            for one in taken:
                ratios = parameters.update_ratios(
                    one.before, parameters.samples(parameters.merged(one.weights))
                )
                one.site.row.copy_(torch.cat([one.values, ratios]))
                self._clock.recorded[one.site] = True

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
        self, optimizer: Optimizer, device: torch.device, named: list[tuple[str, Tensor, Tensor]]
    ) -> _Taken | None:
        places = list(dict.fromkeys(place for place, _, _ in named))
        weights = [[weight for at, weight, _ in named if at == place] for place in places]
        gradients = [[gradient for at, _, gradient in named if at == place] for place in places]
        if id(optimizer) not in self._order:
            self._order.append(id(optimizer))
        number = self._order.index(id(optimizer))
        labels = {"optimizer": str(number)} if number else {}
        site = self._new_site((id(self), number, tuple(places)), "optimiser", series(places, labels), device)
        if site in self._clock.recorded:
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


def _local(tensor: Tensor) -> Tensor:
    to_local: Callable[[], Tensor] | None = getattr(tensor, "to_local", None)
    return to_local() if to_local is not None else tensor
