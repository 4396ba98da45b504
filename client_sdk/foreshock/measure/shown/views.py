"""Two views of the same samples as the loop shows them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import embedding
from foreshock.measure.statistics.table import STATISTICS

from .matrices import pair


def show(sites: Sites, z1: Tensor, z2: Tensor, *, name: str = "views") -> None:
    """Measure two views' embeddings [samples, width], row i of both from sample i: each alone, and their distance."""
    if not sites.awaits("views"):
        return
    with sites.clock.spending:
        both = pair(z1, z2)
        for z, view in zip(both, "ab", strict=True):
            key = ("views", name, view, z.device)
            sites.show(sites.embeddings(key, f"{name}.{view}", "views", ("x",), z.device), [z])
        site = sites.site(
            ("views", name, "pair", z1.device),
            name,
            "views",
            lambda: [STATISTICS[s].series(name) for s in embedding.ALIGNMENT],
            _alignment,
            z1.device,
        )
        sites.show(site, list(both))


def _alignment(tensors: Sequence[Tensor]) -> Tensor:
    a, b = tensors
    return embedding.alignment(a, b, torch.ones(len(a), device=a.device))
