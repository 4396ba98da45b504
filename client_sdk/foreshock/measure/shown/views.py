"""Two views of the same samples as the loop shows them."""

from __future__ import annotations

from torch import Tensor

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import representation, views

from .matrices import pair, square
from .measured import Measured


def show(
    sites: Sites, z1: Tensor, z2: Tensor, *, name: str = "views", predictor: Tensor | None = None
) -> None:
    """Measure two views' embeddings [samples, width], row i of both from sample i: each alone, and how they agree.

    ``predictor`` [width, width] is the weight of a linear predictor that sees ``z1``.
    """
    if not sites.awaits("views"):
        return
    with sites.clock.spending:
        a, b = pair(z1, z2)
        given = {"a": a, "b": b}
        if predictor is not None:
            given["predictor"] = square(predictor, a)
        wide = a.shape[-1] > representation.COLUMNS
        site = sites.site(
            ("views", name, tuple(given), wide, a.device),
            name,
            "views",
            lambda: views.series(name, given, wide=wide),
            Measured(sites, "views", name, tuple(given), views.measure, lambda given: len(given["a"])),
            a.device,
        )
        sites.show(site, list(given.values()))
