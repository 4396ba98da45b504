"""A tensor of one number that the loop logs: into the step's row, unread."""

from __future__ import annotations

import torch
from torch import Tensor

from foreshock.measure.op import capturing
from foreshock.measure.sites import Sites
from foreshock.series import logged


def log(sites: Sites, name: str, tensor: Tensor) -> None:
    """Put a tensor of one number into this step's row without looking at it; the last of a step counts."""
    if tensor.numel() != 1:
        raise ValueError(f"{name} has shape {list(tensor.shape)}; log one number: {name}.mean()")
    if sites.clock.closed or capturing():
        return
    with sites.clock.spending:
        site = sites.site(
            ("log", name, tensor.device),
            name,
            "log",
            lambda: [logged(name, sites.measured)],
            lambda xs: xs[0],
            tensor.device,
        )
        with torch.no_grad():
            site.row.copy_(tensor if tensor.dim() < 2 else tensor.reshape(1))
        sites.clock.recorded[site] = True
