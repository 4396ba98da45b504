"""A tensor to the device that measures it, without waiting for the copy."""

from __future__ import annotations

import torch
from torch import Tensor


def moved(value: Tensor, device: torch.device) -> Tensor:
    """The tensor on that device; the host goes on at once."""
    if value.device == device:
        return value
    if device.type == "cuda" and value.device.type == "cpu":
        value = value.pin_memory()  # from pageable memory the copy would wait for the device
    return value.to(device, non_blocking=True)
