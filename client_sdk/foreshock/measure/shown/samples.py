"""Features of generated samples as the loop shows them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import diversity as statistics
from foreshock.measure.statistics import picking
from foreshock.measure.transfer import moved

from .checks import floating


def show(sites: Sites, name: str, features: Tensor, *, reference: Tensor | None = None) -> None:
    """Measure how different generated samples are, [samples, width], and how they compare with real ones, ``reference``."""
    if not sites.awaits("diversity"):
        return
    with sites.clock.spending:
        x = _rows("features", features)
        given = {"x": x}
        if reference is not None:
            real = _rows("reference", reference)
            if real.shape[-1] != x.shape[-1]:
                raise ValueError(
                    f"reference has width {real.shape[-1]}, features {x.shape[-1]}; pass both through the same network"
                )
            given["reference"] = moved(real, x.device)
        names, device = tuple(given), x.device

        def measure(tensors: Sequence[Tensor]) -> Tensor:
            measured = dict(zip(names, tensors, strict=True))
            for rows, uniform in (("x", "uniform"), ("reference", "uniform_reference")):
                if rows in names:
                    measured[uniform] = sites.uniform(picking.count(measured[rows]), device)
            return statistics.measure(measured)

        site = sites.site(
            ("samples", name, names, device),
            name,
            "diversity",
            lambda: statistics.series(name, names),
            measure,
            device,
        )
        sites.show(site, list(given.values()))


def _rows(name: str, value: object) -> Tensor:
    x = floating(name, value, "one row per sample, [samples, width]")
    if x.numel() == 0:
        raise ValueError(f"{name} has shape {list(x.shape)}; pass one row per sample, [samples, width]")
    return x
