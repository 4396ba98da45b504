"""A step that is due in; spikes, alignment, Adam's moments and lost updates out, and at the step after it the turn of the gradient.

Everything but the largest entries is read from a sketch of the parameters: a few thousand coordinates of each place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

from foreshock.measure.statistics import gradients, moments_of_adam, parameters, sketch
from foreshock.measure.statistics.table import STATISTICS
from foreshock.measure.transfer import local
from foreshock.series import SeriesSpec

from .stepped import Held, Stepped, write
from .stepping import After

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites

PEAKS = ("gradient_max", "gradient_norm_ratio", "gradient_max_ratio")
LOST = ("lost_update_share",)
NOISE = "gradient_noise_ratio"
FIRST = ("exp_avg", "momentum_buffer")  # what optimizers call the average of the gradient
SECOND = ("exp_avg_sq", "square_avg", "sum")  # and that of its square


@dataclass
class _Memory:
    """What is kept of one optimizer's earlier steps."""

    layout: sketch.Layout
    history: Tensor
    signal: Tensor
    direction: Tensor | None = None  # of the gradient of the step before this one


@dataclass(frozen=True)
class _Adam:
    """The parameters of one optimizer that have Adam's moments, all with the same constants."""

    held: list[list[Held]]  # by place
    first: list[list[Tensor]]
    second: list[list[Tensor]]
    beta: float
    epsilon: float
    step: Tensor


class Moments:
    """Reads the first step of a due one, and one more step to compare its gradient with."""

    def __init__(self) -> None:
        self._memories: dict[tuple[int, torch.device], _Memory] = {}
        self._waiting: set[int] = set()  # optimizers whose next gradient is to be compared

    def due(self, sites: Sites, optimizer: Optimizer) -> bool:
        return sites.awaits("moments") or id(optimizer) in self._waiting

    def before(self, sites: Sites, stepped: Stepped) -> After | None:
        memory = self._memory(stepped)
        self._waiting.discard(id(stepped.optimizer))
        if memory.direction is not None:
            self._compare(sites, stepped, memory, memory.direction)
            memory.direction = None
        if not sites.awaits("moments"):
            return None
        site = stepped.site(sites, self, "moments", stepped.places, lambda: series(stepped))
        if site is None:
            return None
        memory.direction = stepped.direction_sketch
        self._waiting.add(id(stepped.optimizer))

        by = stepped.weighing()
        norms, peaks = stepped.gradient_norms, parameters.peaks(stepped.few_gradients)
        ratios, memory.history = gradients.against_history(torch.cat([norms, peaks]), memory.history)
        before, gradient = stepped.weight_sketch, stepped.gradient_sketch
        values = [peaks, ratios, gradients.single(gradient, stepped.direction_sketch, before, by)]
        self._adam(sites, stepped)

        def after() -> None:
            lost = gradients.lost(gradient, before, stepped.moved_sketch, by)
            write(sites, site, [*values, lost])

        return after

    def _memory(self, stepped: Stepped) -> _Memory:
        key = (stepped.number, stepped.device)
        memory = self._memories.get(key)
        if memory is None or memory.layout != stepped.layout:
            wide = 2 * (len(stepped.places) + 1)
            zeros = torch.zeros(2, wide, device=stepped.device)
            memory = self._memories[key] = _Memory(
                stepped.layout, zeros, torch.zeros(2, device=stepped.device)
            )
        return memory

    def _compare(self, sites: Sites, stepped: Stepped, memory: _Memory, before: Tensor) -> None:
        site = stepped.site(sites, self, "moments", ("turn", *stepped.places), lambda: turns(stepped))
        if site is None:
            return
        by = stepped.weighing()
        values = gradients.paired(stepped.direction_sketch, before, by)
        cosine = values.narrow(0, len(stepped.places), 1)
        noise, memory.signal = gradients.noise(cosine, memory.signal)
        write(sites, site, [values, noise])

    def _adam(self, sites: Sites, stepped: Stepped) -> None:
        adam = adam_of(stepped)
        if adam is None:
            return
        places = [place[0].place for place in adam.held]
        site = stepped.site(
            sites,
            self,
            "moments",
            ("adam", *places),
            lambda: stepped.by_place(moments_of_adam.YIELDS, places),
        )
        if site is None:
            return
        whole = adam.held == stepped.held
        layout = stepped.layout if whole else sketch.layout([[one.weight for one in p] for p in adam.held])
        gradient, direction = stepped.gradient_sketch, stepped.direction_sketch
        if not whole:
            gradient = sketch.gather([[one.gradient for one in place] for place in adam.held], layout)
            direction = sketch.scaled(gradient)
        first, second = sketch.gather(adam.first, layout), sketch.gather(adam.second, layout)
        values = moments_of_adam.measure(
            gradient,
            first,
            second,
            adam.step,
            direction,
            stepped.weighing(layout),
            beta=adam.beta,
            epsilon=adam.epsilon,
        )
        write(sites, site, [values])


def adam_of(stepped: Stepped) -> _Adam | None:
    """The parameters with Adam's moments, of the groups whose constants are those of the first such group."""
    constants = _constants(stepped.optimizer)
    chosen: tuple[float, float] | None = None
    step: Tensor | None = None
    places: list[list[tuple[Held, Tensor, Tensor]]] = []
    for place in stepped.held:
        found = []
        for one in place:
            known = constants.get(id(one.parameter))
            if known is None or (chosen is not None and known != chosen):
                continue
            state = stepped.optimizer.state.get(one.parameter, {})
            first, second = kept(state, FIRST[:1], one), kept(state, SECOND[:1], one)
            step = _as_tensor(state.get("step")) if step is None else step
            if first is None or second is None or step is None:
                continue
            chosen = known
            found.append((one, first, second))
        if found:
            places.append(found)
    if chosen is None or step is None:
        return None
    return _Adam(
        held=[[one for one, _, _ in place] for place in places],
        first=[[first for _, first, _ in place] for place in places],
        second=[[second for _, _, second in place] for place in places],
        beta=chosen[0],
        epsilon=chosen[1],
        step=step,
    )


def kept(state: Mapping[str, Any], names: Sequence[str], held: Held) -> Tensor | None:
    """The first of these that an optimizer keeps of a parameter, value by value; of a sharded one this rank's shard."""
    for name in names:
        value = state.get(name)
        if isinstance(value, Tensor) and value.is_floating_point():
            value = local(value)
            return value if value.shape == held.weight.shape else None
    return None


def _constants(optimizer: Optimizer) -> dict[int, tuple[float, float]]:
    found = {}
    for group in optimizer.param_groups:
        betas, epsilon = group.get("betas"), group.get("eps")
        beta = betas[1] if isinstance(betas, (tuple, list)) and len(betas) == 2 else None
        if isinstance(beta, float) and isinstance(epsilon, float):
            found.update({id(p): (beta, epsilon) for p in group["params"]})
    return found


def _as_tensor(step: object) -> Tensor | None:
    if isinstance(step, Tensor) and step.numel() == 1:
        return step.detach().reshape(())
    return torch.full((), step, dtype=torch.float32) if isinstance(step, (int, float)) else None


def series(stepped: Stepped) -> list[SeriesSpec]:
    """What the row of one optimizer holds, in order."""
    return stepped.by_place((*PEAKS, *gradients.SINGLE, *LOST))


def turns(stepped: Stepped) -> list[SeriesSpec]:
    """What the row of the step after it holds, in order."""
    return [
        *stepped.by_place(gradients.PAIRED),
        STATISTICS[NOISE].series(stepped.whole, stepped.labels),
    ]
