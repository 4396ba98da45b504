"""A step that is due in; what takes a whole pass over the gradients and the optimizer's state to know, by place, out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.optim.optimizer import Optimizer

from foreshock.measure.statistics import gradients, parameters
from foreshock.measure.statistics.table import STATISTICS
from foreshock.series import SeriesSpec

from .moments import FIRST, SECOND, kept
from .stepped import Held, Stepped, embedded, write
from .stepping import After, Steps

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites


class DeepGradients:
    """Reads gradient matrices, embeddings left out (whose rows are tokens, not units), and what the optimizer remembers."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def due(self, sites: Sites, optimizer: Optimizer) -> bool:
        return sites.awaits("gradients")

    def before(self, sites: Sites, stepped: Stepped) -> After | None:
        self._matrices(sites, stepped)
        for tensor, names in (("momentum", FIRST), ("second moment", SECOND)):
            self._moments(sites, stepped, tensor, names)
        return None

    def _matrices(self, sites: Sites, stepped: Stepped) -> None:
        tokens = embedded(self._steps.module())
        found: dict[str, list[Tensor]] = {}
        for one in (one for place in stepped.held for one in place):
            if one.gradient.dim() >= 2 and id(one.parameter) not in tokens and min(_flat(one)) >= 2:
                found.setdefault(one.place, []).append(one.gradient)
        if not found:
            return

        def series() -> list[SeriesSpec]:
            return [STATISTICS[name].series(p, stepped.labels) for p in found for name in gradients.MATRIX]

        site = stepped.site(sites, self, "gradients", ("matrices", *found), series)
        if site is not None:
            write(sites, site, [gradients.matrices(place) for place in found.values()])

    def _moments(self, sites: Sites, stepped: Stepped, tensor: str, names: tuple[str, ...]) -> None:
        state = stepped.optimizer.state
        found: dict[str, list[Tensor]] = {}
        copies: dict[str, list[int]] = {}  # of each, where ranks hold parts
        counts = iter([count for place in stepped.copies or () for count in place])
        for one in (one for place in stepped.held for one in place):
            count, moment = next(counts, 1), kept(state.get(one.parameter, {}), names, one)
            if moment is not None:
                found.setdefault(one.place, []).append(moment)
                copies.setdefault(one.place, []).append(count)
        if not found:
            return

        def series() -> list[SeriesSpec]:
            labels = {**stepped.labels, "tensor": tensor}
            return [STATISTICS["nonfinite_count"].series(place, labels) for place in found]

        site = stepped.site(sites, self, "gradients", (tensor, *found), series)
        if site is not None:
            moments = list(found.values())
            if stepped.copies is None:
                write(sites, site, [parameters.counts(parameters.merged(moments))])
            else:
                write(sites, site, [parameters.count_shares(moments, list(copies.values()))])


def _flat(one: Held) -> tuple[int, int]:
    rows = one.gradient.shape[0]
    return rows, one.gradient.numel() // max(1, rows)
