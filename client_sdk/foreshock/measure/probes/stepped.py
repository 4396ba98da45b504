"""What one optimizer is about to step: parameters with their gradients, grouped by place, looked up once for all who read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from foreshock.measure.site import Site
from foreshock.measure.statistics import parameters, sketch
from foreshock.measure.statistics.table import STATISTICS
from foreshock.series import SeriesSpec

from .sharing import Sharing, sharing

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites


@dataclass(frozen=True, eq=False)
class Held:
    """One parameter that is about to be stepped; of a sharded one this rank's shard."""

    name: str
    place: str
    parameter: nn.Parameter
    weight: Tensor
    gradient: Tensor


class Stepped:
    """What one optimizer is about to step on one device."""

    def __init__(
        self,
        optimizer: Optimizer,
        number: int,
        device: torch.device,
        held: Sequence[Held],
        whole: str,
        weigh: Callable[[sketch.Layout, torch.device], sketch.Weighing],
        spread: Callable[[Sequence[nn.Parameter]], Sharing] = sharing,
    ) -> None:
        self.optimizer = optimizer
        self.whole = whole  # the place of what is true of all places together
        self._weigh = weigh
        self._spread = spread
        self.number = number  # of the optimizer, in the order of their first steps
        self.device = device
        found: dict[str, list[Held]] = {}
        for one in held:
            found.setdefault(one.place, []).append(one)
        self.places, self.held = list(found), list(found.values())
        self.labels = {"optimizer": str(number)} if number else {}

    @cached_property
    def sharing(self) -> Sharing:
        """How its parameters lie over the ranks."""
        return self._spread([one.parameter for place in self.held for one in place])

    @cached_property
    def copies(self) -> list[list[int]] | None:
        """By place, how many ranks hold what this one holds of each parameter; None where each is held once."""
        counts = iter(self.sharing.copies)
        if all(count == 1 for count in self.sharing.copies):
            return None
        return [[next(counts) for _ in place] for place in self.held]

    @cached_property
    def weights(self) -> list[list[Tensor]]:
        """By place."""
        return [[one.weight for one in place] for place in self.held]

    @cached_property
    def gradients(self) -> list[list[Tensor]]:
        """By place."""
        return [[one.gradient for one in place] for place in self.held]

    @cached_property
    def few_gradients(self) -> list[list[Tensor]]:
        """The same values in fewer tensors."""
        return parameters.merged(self.gradients)

    @cached_property
    def gradient_norms(self) -> Tensor:
        """[places + 1]."""
        return parameters.norms(self.few_gradients)

    def norms(self, tensors: list[list[Tensor]], few: list[list[Tensor]]) -> Tensor:
        """Of each place and of all, [places + 1], each tensor by this rank's share of it: the squares of all ranks add up."""
        return parameters.norms(few) if self.copies is None else parameters.norm_shares(tensors, self.copies)

    def counts(self, tensors: list[list[Tensor]], few: list[list[Tensor]]) -> Tensor:
        """How many values of each place are not finite, [places], by the same shares."""
        return (
            parameters.counts(few) if self.copies is None else parameters.count_shares(tensors, self.copies)
        )

    @cached_property
    def layout(self) -> sketch.Layout:
        """Which coordinates stand for the places."""
        return sketch.layout(self.weights)

    @cached_property
    def gradient_sketch(self) -> Tensor:
        """[places, coordinates]."""
        return sketch.gather(self.gradients, self.layout)

    @cached_property
    def direction_sketch(self) -> Tensor:
        """[places, coordinates]: the gradient on a scale that can be squared."""
        return sketch.scaled(self.gradient_sketch)

    @cached_property
    def weight_sketch(self) -> Tensor:
        """[places, coordinates], before the step."""
        return sketch.gather(self.weights, self.layout)

    @cached_property
    def moved_sketch(self) -> Tensor:
        """[places, coordinates], after the step: not to be asked for before."""
        return sketch.gather(self.weights, self.layout)

    def by_place(self, names: Sequence[str], places: Sequence[str] | None = None) -> list[SeriesSpec]:
        """Each of these statistics at each place, then of all places together."""
        places = self.places if places is None else places
        return [STATISTICS[name].series(p, self.labels) for name in names for p in (*places, self.whole)]

    def weighing(self, layout: sketch.Layout | None = None) -> sketch.Weighing:
        """How much each place counts."""
        return self._weigh(layout or self.layout, self.device)

    def site(
        self,
        sites: Sites,
        reader: object,
        kind: str,
        names: Sequence[object],
        specs: Callable[[], list[SeriesSpec]],
    ) -> Site | None:
        """The site of this optimizer's row of a reader, or None when it has recorded in the open step."""
        key = (kind, id(reader), self.number, tuple(names), self.device)

        def merging() -> list[SeriesSpec]:
            return self.sharing.described(specs())

        site = sites.site(key, kind, kind, merging, _written_by_hooks, self.device)
        return None if site in sites.clock.recorded else site


def write(sites: Sites, site: Site, values: Sequence[Tensor]) -> None:
    """Put these values, in order, into the site's row."""
    site.row.copy_(torch.cat(list(values)))
    sites.clock.recorded[site] = True


def _written_by_hooks(tensors: Sequence[Tensor]) -> Tensor:
    raise AssertionError("an optimizer's row is written by its hooks")


def embedded(model: nn.Module | None) -> set[int]:
    """The ids of the parameters that are tables of embeddings: their rows belong to tokens."""
    if model is None:
        return set()
    return {
        id(p)
        for module in model.modules()
        if "embedding" in type(module).__name__.lower()
        for p in module.parameters(recurse=False)
    }
