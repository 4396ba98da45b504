"""A tensor of one number, or of one dimension, that the loop logs: into the step's row, unread."""

from __future__ import annotations

import torch
from torch import Tensor

from foreshock.measure.op import capturing
from foreshock.measure.sites import Sites
from foreshock.series import logged, logged_entries


def log(sites: Sites, name: str, tensor: Tensor) -> None:
    """Put a tensor of one number, or a vector, into this step's row without looking at it; the last of a step counts."""
    size = tensor.numel()
    if size != 1 and tensor.dim() != 1:
        raise ValueError(
            f"{name} has shape {list(tensor.shape)}; log one number, such as {name}.mean(), or one dimension"
        )
    if sites.clock.closed or capturing():
        return
    with sites.clock.spending:
        site = sites.site(
            ("log", name, tensor.device, size),
            name,
            "log",
            lambda: (
                [logged(name, sites.measured)] if size == 1 else logged_entries(name, size, sites.measured)
            ),
            lambda xs: xs[0],
            tensor.device,
        )
        with torch.no_grad():
            site.row.copy_(tensor if tensor.dim() < 2 else tensor.reshape(1))
        sites.clock.recorded[site] = True
