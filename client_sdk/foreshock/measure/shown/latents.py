"""The posterior of a variational model as the loop shows it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import latents as statistics

from .checks import floating, masked, shaped

_SHAPES = "[batch, width], [batch, positions, width] or [batch, channels, height, width]"


def show(sites: Sites, name: str, mean: Tensor, log_variance: Tensor, *, mask: Tensor | None = None) -> None:
    """Measure the means and log-variances, ln σ², of a diagonal Gaussian posterior; of images, a dimension is a channel."""
    if not sites.awaits("latents"):
        return
    with sites.clock.spending:
        mean = floating("mean", mean, _SHAPES)
        log_variance = floating(
            "log_variance", log_variance, f"ln σ², shaped as the mean: {list(mean.shape)}"
        )
        device = mean.device
        shown = [
            x.movedim(1, -1) if x.dim() >= 4 else x
            for x in (mean, shaped("log_variance", log_variance, [mean.shape], "mean", device))
        ]
        covered = shown[0].shape[:-1]
        given = {"mean": shown[0], "log_variance": shown[1]}
        rows = covered.numel()
        if mask is None:
            given["valid"] = torch.ones(rows, dtype=torch.bool, device=device)
        else:
            given["valid"] = masked(mask, covered, "row", device)
        names = (*given, "noise")

        def measure(tensors: Sequence[Tensor]) -> Tensor:
            most = statistics.rows_at_most(tensors[0].shape[-1])
            measured = dict(zip(names, tensors, strict=False))
            paired = min(statistics.PAIRED, most, len(measured["valid"]))
            size = (paired, tensors[0].shape[-1])
            measured["noise"] = torch.randn(size, generator=sites.generator(device), device=device)
            if len(measured["valid"]) > most:
                measured["uniform"] = sites.uniform(len(measured["valid"]), device)
            return statistics.measure(measured)

        site = sites.site(
            ("latents", name, device), name, "latents", lambda: statistics.series(name), measure, device
        )
        sites.show(site, list(given.values()))
