"""A loss with its graph in; the largest eigenvalue of its Hessian, and what that means at this learning rate, out."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import curvature
from foreshock.measure.statistics.table import STATISTICS

STEPS = 10


def show(
    sites: Sites,
    loss: Tensor,
    parameters: Iterable[Tensor] | nn.Module,
    *,
    steps: int = STEPS,
    lr: float | None = None,
    name: str = "",
) -> None:
    """Multiply with the Hessian ``steps`` times, when `every` gives curvature a cadence; each costs about two backward passes."""
    if not sites.awaits("curvature"):
        return
    with sites.clock.spending:
        chosen = _chosen(loss, parameters, steps)
        device = chosen[0].device
        yields = (*curvature.YIELDS, *(("sharpness_times_lr",) if lr is not None else ()))
        site = sites.site(
            ("curvature", name, yields, device),
            name,
            "curvature",
            lambda: [STATISTICS[statistic].series(name) for statistic in yields],
            lambda tensors: tensors[0],
            device,
        )
        if site in sites.clock.recorded:
            return
        values = _measured(sites, loss, chosen, steps)
        if lr is not None:
            values = torch.cat([values, values.narrow(0, 0, 1) * lr])
        sites.show(site, [values])


def _measured(sites: Sites, loss: Tensor, chosen: list[Tensor], steps: int) -> Tensor:
    try:
        with torch.enable_grad():
            gradient_P = _flat(
                chosen, torch.autograd.grad(loss, chosen, create_graph=True, allow_unused=True)
            )
            if not gradient_P.requires_grad:
                return gradient_P.new_zeros(len(curvature.YIELDS))  # a linear loss has no curvature
        start_P = torch.randn(
            gradient_P.numel(), generator=sites.generator(gradient_P.device), device=gradient_P.device
        )

        def product(v_P: Tensor) -> Tensor:
            found = torch.autograd.grad(
                gradient_P, chosen, grad_outputs=v_P, retain_graph=True, allow_unused=True
            )
            if all(gradient is None for gradient in found):
                raise RuntimeError("its gradient does not depend on the parameters by any known way")
            return _flat(chosen, found).detach()

        return curvature.measure(product, start_P, steps)
    except RuntimeError as error:
        raise ValueError(
            f"the Hessian of this loss cannot be had: {error}. Show it before backward(), and compute the loss with what can"
            " be differentiated twice: torch.nn.attention.sdpa_kernel(SDPBackend.MATH), a model that is not compiled"
        ) from error


def _flat(chosen: list[Tensor], found: Iterable[Tensor | None]) -> Tensor:
    filled = [torch.zeros_like(p) if g is None else g for p, g in zip(chosen, found, strict=True)]
    return torch.cat([g.reshape(-1).float() for g in filled])


def _chosen(loss: object, parameters: Iterable[Tensor] | nn.Module, steps: object) -> list[Tensor]:
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        what = f"of shape {list(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise ValueError(f"the loss is {what}; pass a tensor of one number that has not been detached")
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps is {steps!r}; pass how many products to take, such as {STEPS}")
    given = parameters.parameters() if isinstance(parameters, nn.Module) else parameters
    chosen = [p for p in given if isinstance(p, Tensor) and p.requires_grad and p.numel() > 0]
    if not chosen:
        raise ValueError("no parameter requires a gradient; pass the model or some of its parameters")
    if any(hasattr(p, "to_local") for p in chosen):
        raise ValueError(
            "these parameters are sharded; a Hessian can be had where each rank holds all of a parameter"
        )
    if len({p.device for p in chosen}) > 1:
        raise ValueError("these parameters lie on several devices; pass those of one of them")
    return chosen
