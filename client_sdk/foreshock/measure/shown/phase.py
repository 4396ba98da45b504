"""A loss and hidden states of one forward pass in; whether each layer is memorising or compressing out. No gradient of the training is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import phase, sketch
from foreshock.measure.transfer import moved

from .losses import Parameters, checked, gradients_of

MOST = 8  # layers: each costs a backward pass


def show(
    sites: Sites,
    loss: Tensor,
    hidden: Mapping[str, Tensor],
    *,
    model: nn.Module | None = None,
    parameters: Parameters | None = None,
    mask: Tensor | None = None,
) -> None:
    """Compare the gradient of the loss with that of each layer's matrix-based entropy, before the loss has been backpropagated."""
    if not sites.awaits("losses"):
        return
    with sites.clock.spending:
        checked("the loss", loss)
        layers = _layers(hidden)
        with torch.enable_grad(), torch.autocast(loss.device.type, enabled=False):
            entropies = {name: _entropy(name, h, mask) for name, h in layers.items()}
        named = {"the loss": loss, **{f"the entropy of {name}": one for name, one in entropies.items()}}
        places, weighing, gradients = gradients_of(named, parameters, model)
        device = gradients[0].device
        site = sites.site(
            ("phase", tuple(entropies), places, device),
            "phase",
            "losses",
            lambda: phase.series(list(entropies)),
            _given,
            device,
        )
        sites.show(site, [weighing, *gradients])


def _given(tensors: Sequence[Tensor]) -> Tensor:
    return phase.measure(tensors[1:], sketch.Weighing(*tensors[0].unbind(0)))


def _entropy(name: str, h: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return phase.entropy(h.flatten(0, -2))
    if not isinstance(mask, Tensor) or mask.shape != h.shape[:-1]:
        found = list(mask.shape) if isinstance(mask, Tensor) else f"of {type(mask).__name__}"
        raise ValueError(
            f"mask is {found} and the hidden states of {name!r} are {list(h.shape)}; pass one entry per row, {list(h.shape[:-1])}"
        )
    return phase.entropy(h.flatten(0, -2), moved(mask.detach().reshape(-1) > 0, h.device))


def _layers(hidden: object) -> dict[str, Tensor]:
    if not isinstance(hidden, Mapping) or not 1 <= len(hidden) <= MOST:
        told = f"a {type(hidden).__name__}" + (f" of {len(hidden)}" if isinstance(hidden, Mapping) else "")
        raise ValueError(
            f"hidden is {told}; pass a mapping of 1 to {MOST} names to hidden states, such as {{'layers.6': h}}"
        )
    for name, h in hidden.items():
        if not isinstance(h, Tensor) or not h.is_floating_point() or h.dim() < 2 or 0 in h.shape:
            told = f"of shape {list(h.shape)}" if isinstance(h, Tensor) else f"a {type(h).__name__}"
            raise ValueError(
                f"hidden {name!r} is {told}; pass activations, [rows, width] or [batch, rows, width]"
            )
        if not h.requires_grad:
            raise ValueError(
                f"hidden {name!r} has no graph; pass it as the forward pass made it, not detached and not under torch.no_grad()"
            )
    return {str(name): h for name, h in hidden.items()}
