"""A model in; what of an optimizer's step is read, and the row of every step that is due: norms, counts, update sizes, out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from torch.nn.parameter import is_lazy
from torch.optim.optimizer import Optimizer
from torch.utils.hooks import RemovableHandle

from foreshock.measure.statistics import parameters
from foreshock.measure.statistics.table import STATISTICS
from foreshock.series import SeriesSpec

from . import clipping, loss_scale
from .deep_gradients import DeepGradients
from .moments import Moments
from .noise import MicroBatches
from .stepped import Stepped, write
from .stepping import After, Steps
from .subject import Attached, Planned, Subject

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites


def plan(subject: Subject) -> list[Planned]:
    """The parameters of each block, read when an optimizer steps them; then what is read for all blocks together.

    Gradients are read as the optimizer gets them: averaged over ranks, unscaled by a GradScaler (which does not step,
    and so is not seen, when it finds an overflow), and after the loop's own clipping. A fused optimizer that unscales
    by itself is the exception: its gradients are still scaled. Given a closure, an optimizer has only the gradients of
    the closure's last call. Of a sharded model each rank reads its shard; of what k ranks hold alike each counts a
    k-th of the squares, and of the values that are not finite, so that the ranks add up to the whole.
    """
    steps = Steps(subject.root, subject.prefix, subject.optimizer)
    norms, micro = Norms(), MicroBatches(steps)
    sizes: dict[str, int] = {}
    for _, place, p in steps.named():
        sizes[place] = sizes.get(place, 0) + (0 if is_lazy(p) else p.numel())
    whole = sum(sizes.values())

    def line(measured: str, kind: str, attach: Callable[[Sites], Attached], reads: int, per: int) -> Planned:
        return Planned(
            place=subject.prefix + "parameters",
            module="optimizer",
            measured=measured,
            family="optimiser",
            kind=kind,
            attach=attach,
            values=reads * whole,
            operations=per * whole,
        )

    return [
        *(
            Planned(
                place=place,
                module="parameters",
                measured="gradients, weights, updates",
                family="optimiser",
                kind="optimiser",
                attach=functools.partial(steps.attach, norms),
                values=2.0 * size,
                operations=8.0 * size,
                series=len(parameters.YIELDS) + 2,
            )
            for place, size in sizes.items()
        ),
        line("moments, spikes, turns", "moments", functools.partial(steps.attach, Moments()), 1, 2),
        line("rank of gradients", "gradients", functools.partial(steps.attach, DeepGradients(steps)), 4, 8),
        line("noise between micro-batches", "noise", functools.partial(_attach_noise, steps, micro), 0, 0),
        clipping.plan(subject.prefix, steps),
        loss_scale.plan(subject.prefix, steps),
    ]


def _attach_noise(steps: Steps, micro: MicroBatches, sites: Sites) -> Attached:
    return Attached([*steps.attach(micro, sites).handles, cast("RemovableHandle", micro)])


class Norms:
    """The first step of an open step, in one row: gradients, weights, and how far the step moved the weights."""

    def due(self, sites: Sites, optimizer: Optimizer) -> bool:
        return sites.awaits("optimiser")

    def before(self, sites: Sites, stepped: Stepped) -> After | None:
        site = stepped.site(sites, self, "optimiser", stepped.places, lambda: series(stepped))
        if site is None:
            return None
        by = stepped.weighing()
        few_weights = parameters.merged(stepped.weights)
        weight_norms = parameters.norms(few_weights)
        shared = stepped.copies is not None
        values = [
            stepped.norms(stepped.gradients, stepped.few_gradients) if shared else stepped.gradient_norms,
            stepped.norms(stepped.weights, few_weights) if shared else weight_norms,
            parameters.rms(weight_norms, by.size),
            stepped.counts(stepped.gradients, stepped.few_gradients),
            stepped.counts(stepped.weights, few_weights),
        ]
        before = stepped.weight_sketch

        def after() -> None:
            ratios = parameters.update_ratios(before, stepped.moved_sketch, by)
            write(sites, site, [*values, ratios])

        return after


def series(stepped: Stepped) -> list[SeriesSpec]:
    """What one optimizer's row holds, in order."""
    count = [
        STATISTICS["nonfinite_count"].series(place, {**stepped.labels, "tensor": tensor})
        for tensor in ("gradient", "weight")
        for place in stepped.places
    ]
    first, last = parameters.YIELDS[:-1], parameters.YIELDS[-1:]
    return [*stepped.by_place(first), *count, *stepped.by_place(last)]
