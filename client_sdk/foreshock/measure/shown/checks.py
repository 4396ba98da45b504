"""A value that the loop shows in; a tensor of the right type and shape on the right device, or a sentence that says what to pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foreshock.measure.transfer import moved


def floating(name: str, value: object, shapes: str) -> Tensor:
    """A floating tensor with at least two dimensions, none of which is empty but for the first ones."""
    x = tensor(name, value)
    if not x.is_floating_point():
        raise ValueError(f"{name} has dtype {x.dtype}; pass a floating tensor {shapes}")
    if x.dim() < 2 or x.shape[-1] == 0:
        raise ValueError(f"{name} has shape {list(x.shape)}; pass {shapes}")
    return x.detach()


def integers(name: str, value: object, what: str) -> Tensor:
    """A tensor of whole numbers."""
    x = tensor(name, value)
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f"{name} has dtype {x.dtype}; pass {what}, as integers")
    return x.detach()


def tensor(name: str, value: object) -> Tensor:
    """A tensor."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} is a {type(value).__name__}; pass a torch tensor: torch.as_tensor({name})")
    return value


def shaped(name: str, x: Tensor, shapes: Sequence[Sequence[int]], per: str, device: torch.device) -> Tensor:
    """The tensor on this device, if its shape is one of these."""
    if all(list(x.shape) != list(shape) for shape in shapes):
        options = " or ".join(str(list(shape)) for shape in shapes)
        raise ValueError(f"{name} has shape {list(x.shape)}; pass one entry per {per}: {options}")
    return moved(x.detach(), device)


def masked(mask: object, covered: Sequence[int], per: str, device: torch.device) -> Tensor:
    """Where the mask is true, flat."""
    flat = shaped("mask", tensor("mask", mask), [covered], per, device).reshape(-1)
    return flat if flat.dtype == torch.bool else flat > 0
