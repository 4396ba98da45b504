"""A tensor to where it is measured: this rank's part of it, on the device that measures, without waiting for a copy."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def moved(value: Tensor, device: torch.device) -> Tensor:
    """The tensor on that device; the host goes on at once."""
    if value.device == device:
        return value
    if device.type == "cuda" and value.device.type == "cpu":
        value = value.pin_memory()  # from pageable memory the copy would wait for the device
    return value.to(device, non_blocking=True)


def local(x: Tensor) -> Tensor:
    """This rank's shard of a distributed tensor; any other tensor as it is."""
    to_local: Callable[[], Tensor] | None = getattr(x, "to_local", None)
    return to_local() if to_local is not None else x


def local_in_graph(x: Tensor) -> Tensor:
    """The same in code that is being compiled, where a tensor's class is known and its attributes cannot be asked for."""
    if type(x).__name__ == "DTensor":
        return x.to_local()  # type: ignore[attr-defined, no-any-return]  # of a class that is not imported for it
    return x
