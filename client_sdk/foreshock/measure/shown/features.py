"""A feature matrix as the loop shows it."""

from __future__ import annotations

from torch import Tensor

from foreshock.measure.sites import Sites

from .matrices import flatten


def show(
    sites: Sites, name: str, h: Tensor, *, mask: Tensor | None = None, labels: Tensor | None = None
) -> None:
    """Measure features [rows, width] or [batch, tokens, width]; with ``labels`` per row also their class structure."""
    if not sites.awaits("features"):
        return
    with sites.clock.spending:
        given = flatten(h, mask, labels)
        key = ("features", name, tuple(given), h.device)
        site = sites.embeddings(key, name, "features", tuple(given), h.device)
        sites.show(site, list(given.values()))
