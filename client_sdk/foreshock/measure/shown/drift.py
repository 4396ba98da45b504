"""A representation of a fixed batch, shown from time to time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import picking, similarity
from foreshock.measure.statistics.table import STATISTICS

from .matrices import flatten


def show(sites: Sites, name: str, h: Tensor | Callable[[], Tensor]) -> None:
    """Compare the representation of a fixed batch with the first one shown; ``h`` may be a function that makes it when it is due."""
    if not sites.awaits("drift"):
        return
    if not isinstance(h, Tensor) and callable(h):
        with torch.no_grad():
            h = h()
    with sites.clock.spending:
        x = flatten(h, None, None)["x"]
        site = sites.site(
            ("drift", name, x.device),
            name,
            "drift",
            lambda: [
                STATISTICS[statistic].series(name, {"against": "baseline"} if statistic == "cka" else {})
                for statistic in similarity.DRIFT
            ],
            Drift(),
            x.device,
        )
        measure = site.measure
        if isinstance(measure, Drift):
            measure.check(name, x)
        sites.show(site, [x])


class Drift:
    """The measurement of one fixed batch; the first usable record is what the later ones are compared with."""

    def __init__(self) -> None:
        self._baseline: similarity.Baseline | None = None
        self._shape: torch.Size | None = None

    def check(self, name: str, x: Tensor) -> None:
        """Complain about another batch than the first."""
        if self._shape is None:
            self._shape = x.shape
        elif self._shape != x.shape:
            raise ValueError(
                f"{name} has shape {list(x.shape)}, at first {list(self._shape)}; pass the representation of the same batch each"
                " time, by the same layer, or use another name"
            )

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        (x,) = tensors
        count = picking.count(x)
        chosen_M = similarity.chosen(count, x.device)
        valid_N = torch.ones(count, dtype=torch.bool, device=x.device)
        rows = similarity.few(x.detach(), valid_N, chosen_M)
        if self._baseline is None or self._baseline.mean.device != x.device:
            self._baseline = similarity.empty(rows)
        values, self._baseline = similarity.drift(rows, self._baseline)
        return values
