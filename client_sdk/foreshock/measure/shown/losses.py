"""Several losses of one forward pass in; whether their gradients agree, block by block, out. No gradient of the training is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from foreshock.measure.probes.choose import block_names, innermost, parameter_name, place_of
from foreshock.measure.sites import Sites
from foreshock.measure.statistics import conflict, sketch
from foreshock.measure.statistics.table import STATISTICS
from foreshock.measure.transfer import moved
from foreshock.series import SeriesSpec

MOST = 6  # losses: each costs a backward pass, and each two of them a pair of series
LARGEST = 2  # tensors that stand for a block: their gradients alone are asked for

Parameters = Iterable[Tensor] | Mapping[str, Tensor]


def show(
    sites: Sites,
    losses: Mapping[str, Tensor],
    parameters: Parameters | None = None,
    model: nn.Module | None = None,
) -> None:
    """Compare the gradients of these losses before any of them has been backpropagated; costs one backward pass for each."""
    if not sites.awaits("losses"):
        return
    with sites.clock.spending:
        named = _named(losses)
        places, weighing, gradients = gradients_of(named, parameters, model)
        device = gradients[0].device
        site = sites.site(
            ("losses", tuple(named), places, device),
            "losses",
            "losses",
            lambda: _series(list(named), places),
            _given,
            device,
        )
        sites.show(site, [weighing, *gradients])


def gradients_of(
    named: Mapping[str, Tensor], parameters: Parameters | None, model: nn.Module | None
) -> tuple[tuple[str, ...], Tensor, list[Tensor]]:
    """The places to differentiate by, how much each counts (`sketch.Weighing` in one tensor), and the gradient of each of these
    numbers at the same coordinates: a backward pass for each, which leaves the graph."""
    groups = _groups(parameters, model)
    tensors = list(groups.values())
    layout = sketch.layout([[tensor.detach() for tensor in place] for place in tensors])
    gradients = [_gradient(name, loss, tensors, layout) for name, loss in named.items()]
    sizes = torch.as_tensor(layout.weighing, dtype=torch.float32, device="cpu")
    return tuple(groups), moved(sizes, gradients[0].device), gradients


def _given(tensors: Sequence[Tensor]) -> Tensor:
    return conflict.measure(tensors[1:], sketch.Weighing(*tensors[0].unbind(0)))


def _series(names: Sequence[str], places: Sequence[str]) -> list[SeriesSpec]:
    return [
        STATISTICS[statistic].series(place, {"losses": f"{a} and {b}"})
        for statistic in conflict.PAIRED
        for a, b in conflict.pairs(names)
        for place in (*places, "")
    ]


def _gradient(name: str, loss: Tensor, places: list[list[Tensor]], layout: sketch.Layout) -> Tensor:
    flat = [tensor for place in places for tensor in place]
    try:
        with torch.autocast(loss.device.type, enabled=False):  # backward() is not called within it either
            found = torch.autograd.grad(loss, flat, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise ValueError(
            f"the gradient of {name} cannot be had: {error}. Show the losses before the first backward(), which frees the"
            " graph; a compiled model must not donate its buffers: torch._functorch.config.donated_buffer = False"
        ) from error
    with torch.no_grad():
        filled = [torch.zeros_like(t) if g is None else g.detach() for t, g in zip(flat, found, strict=True)]
        ends, start = [], 0
        for place in places:
            ends.append(filled[start : start + len(place)])
            start += len(place)
        return sketch.gather(ends, layout)


def _named(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not isinstance(losses, Mapping) or not 2 <= len(losses) <= MOST:
        raise ValueError(
            f"losses is {_said(losses)}; pass a mapping of 2 to {MOST} names to losses, such as"
            " {'policy': policy_loss, 'value': value_loss}"
        )
    return {str(name): checked(f"the loss {name!r}", loss) for name, loss in losses.items()}


def checked(what: str, loss: Tensor) -> Tensor:
    """A loss that can be differentiated."""
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        raise ValueError(f"{what} is {_said(loss)}; pass a tensor of one number that has not been detached")
    return loss


def _said(value: object) -> str:
    if isinstance(value, Tensor):
        return f"of shape {list(value.shape)}, requires_grad={value.requires_grad}"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, Mapping) else "")


def _groups(parameters: Parameters | None, model: nn.Module | None) -> dict[str, list[Tensor]]:
    """The tensors to differentiate by, by place: the largest ones of each block."""
    found: dict[str, list[Tensor]] = {}
    if isinstance(model, nn.Module):
        root = innermost(model)
        blocks, clean = block_names(root), parameter_name(root)
        for name, p in root.named_parameters():
            found.setdefault(place_of(clean(name), blocks), []).append(p)
    elif isinstance(parameters, Mapping):
        found = {str(name): [p] for name, p in parameters.items()}
    elif isinstance(parameters, Iterable):
        found = {"shared": [p for p in parameters if isinstance(p, Tensor)]}
    keep: Callable[[Tensor], bool] = lambda p: isinstance(p, Tensor) and p.requires_grad and p.numel() > 0
    found = {place: [p for p in given if keep(p)] for place, given in found.items()}
    found = {
        place: sorted(given, key=Tensor.numel, reverse=True)[:LARGEST]
        for place, given in found.items()
        if given
    }
    if not found:
        raise ValueError(
            "there is nothing to differentiate by; pass model=… or parameters=… that require gradients"
        )
    flat = [p for given in found.values() for p in given]
    if any(hasattr(p, "to_local") for p in flat):
        raise ValueError(
            "these parameters are sharded; losses can be compared where each rank holds all of a parameter"
        )
    if len({p.device for p in flat}) > 1:
        raise ValueError("these parameters lie on several devices; pass parameters=… of one of them")
    return found
