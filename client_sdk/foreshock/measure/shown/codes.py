"""The indices of a vector quantiser as the loop shows them."""

from __future__ import annotations

from torch import Tensor

from foreshock.measure.probes.codebooks import MOST_CODES
from foreshock.measure.probes.coding import Coding
from foreshock.measure.sites import Sites
from foreshock.measure.statistics import codebook as statistics

from .checks import floating, integers, masked


def show(
    sites: Sites,
    name: str,
    indices: Tensor,
    *,
    size: int,
    mask: Tensor | None = None,
    gradient: Tensor | None = None,
) -> None:
    """Measure which of the ``size`` codes were chosen: ``indices`` of any shape, and the codebook's ``gradient`` [size, width]."""
    if not sites.awaits("codes"):
        return
    with sites.clock.spending:
        if type(size) is not int or not 2 <= size <= MOST_CODES:
            raise ValueError(
                f"size is {size!r}; pass the number of codes in the codebook, from 2 to {MOST_CODES}"
            )
        index = integers("indices", indices, "which code was chosen where")
        given = {"index": index}
        if mask is not None:
            given["valid"] = masked(mask, index.shape, "index", index.device)
        if gradient is not None:
            of = floating("gradient", gradient, "[size, width]: codebook.weight.grad")
            if of.dim() != 2 or of.shape[0] != size or of.device != index.device:
                raise ValueError(
                    f"gradient has shape {list(of.shape)} on {of.device}; pass that of the codebook, [{size}, width]"
                    f" on {index.device}: codebook.weight.grad after backward"
                )
            given["gradient"] = of
        names = tuple(given)
        site = sites.site(
            ("codes", name, names, size, index.device),
            name,
            "codes",
            lambda: statistics.series(name, names),
            Coding(names, size),
            index.device,
        )
        sites.show(site, list(given.values()))
