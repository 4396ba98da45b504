"""A feature matrix as the loop shows it."""

from __future__ import annotations

import functools

from torch import Tensor

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import features, picking, representation

from .matrices import companions, flatten, known_classes, of_views
from .measured import Measured


def show(
    sites: Sites,
    name: str,
    h: Tensor,
    *,
    mask: Tensor | None = None,
    labels: Tensor | None = None,
    classes: int | None = None,
    classifier: Tensor | None = None,
    bias: Tensor | None = None,
    views: int | None = None,
    teacher: Tensor | None = None,
    previous: Tensor | None = None,
) -> None:
    """Measure features [rows, width] or [batch, tokens, width], and what can be said of them with the rest.

    ``labels`` per row; ``classes`` how many, or ``classifier`` [classes, width] with ``bias``: the signs of neural collapse;
    ``views`` of one item that follow one another, or h [items, views, width]; ``teacher`` and ``previous`` layer of the same rows.
    """
    if not sites.awaits("features"):
        return
    with sites.clock.spending:
        given = flatten(h, mask, labels)
        given |= companions(h, labels, classifier, bias, teacher, previous)
        known = known_classes(classes, classifier, labels)
        of_views(h, views)
        wide = h.shape[-1] > representation.COLUMNS
        key = ("features", name, tuple(given), known, views, wide, h.device)
        measure = functools.partial(features.measure, classes_known=known, views=views or 0)
        site = sites.site(
            key,
            name,
            "features",
            lambda: features.series(name, given, wide=wide, classes_known=known),
            Measured(sites, "features", name, tuple(given), measure, lambda given: picking.count(given["x"])),
            h.device,
        )
        sites.show(site, list(given.values()))
