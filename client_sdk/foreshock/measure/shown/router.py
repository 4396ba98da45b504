"""A router's batch as the loop shows it."""

from __future__ import annotations

import torch
from torch import Tensor

from foreshock.measure.probes.routing import Routing
from foreshock.measure.sites import Sites
from foreshock.measure.statistics import experts as statistics

from .checks import floating, integers, masked, shaped

_SHAPES = "[tokens, experts] or [batch, tokens, experts]"


def show(
    sites: Sites,
    name: str,
    logits: Tensor,
    *,
    mask: Tensor | None = None,
    top_k: int = 2,
    chosen: Tensor | None = None,
    tasks: Tensor | None = None,
    dropped: Tensor | float | None = None,
    capacity: float | None = None,
) -> None:
    """Measure a router's logits [tokens, experts] or [batch, tokens, experts], and what it did with them.

    ``chosen`` the experts of each token, by number, where they are not the ``top_k`` largest logits; ``tasks`` a number per
    token or sequence; ``dropped`` true where a token, or a choice, was not served, or how many tokens that were; or
    ``capacity``, how many choices one expert serves.
    """
    if not sites.awaits("router"):
        return
    with sites.clock.spending:
        given, experts = _flatten(logits, mask, chosen, tasks, dropped, capacity)
        if type(top_k) is not int or not 1 <= top_k <= experts:
            raise ValueError(
                f"top_k is {top_k!r}; pass how many of the {experts} experts a token is sent to, from 1 to {experts}"
            )
        names = tuple(given)
        site = sites.site(
            ("router", name, names, experts, top_k, logits.device),
            name,
            "router",
            lambda: statistics.series(name, experts, names),
            Routing(sites, names, experts, top_k),
            logits.device,
        )
        sites.show(site, list(given.values()))


def _flatten(
    logits: object, mask: object, chosen: object, tasks: object, dropped: object, capacity: object
) -> tuple[dict[str, Tensor], int]:
    """The inputs of `statistics.experts.measure` by name, and the number of experts."""
    logits = floating("logits", logits, _SHAPES)
    *covered, experts = logits.shape
    device = logits.device
    given = {"logits": logits}
    if mask is not None:
        given["valid"] = masked(mask, covered, "token", device)
    if chosen is not None:
        numbers = integers("chosen", chosen, "the numbers of the experts that each token was sent to")
        each = numbers.shape[-1] if numbers.dim() == len(covered) + 1 else 1
        numbers = shaped("chosen", numbers, [[*covered, each], covered], "token and choice", device)
        given["chosen"] = numbers.reshape(-1, each)
    if tasks is not None:
        of = integers("tasks", tasks, "the number of each token's task")
        shapes = [covered] if len(covered) == 1 else [covered, covered[:1]]
        of = shaped("tasks", of, shapes, "token" if len(covered) == 1 else "token or sequence", device)
        if list(of.shape) != covered:
            of = of.view(-1, *(1 for _ in covered[1:])).expand(covered)
        given["tasks"] = of.reshape(-1)
    if dropped is not None and capacity is not None:
        raise ValueError("dropped and capacity both say what was not served; pass one of them")
    if isinstance(dropped, Tensor) and dropped.numel() != 1:
        each = dropped.shape[-1] if dropped.dim() == len(covered) + 1 else 1
        lost = shaped(
            "dropped", dropped, [covered, [*covered, each]], "token, or per token and choice", device
        )
        given["dropped"] = lost.reshape(-1) if list(lost.shape) == covered else lost.reshape(-1, each)
    elif dropped is not None:
        given["dropped"] = _number("dropped", dropped, device)
    if capacity is not None:
        given["capacity"] = _number("capacity", capacity, device)
    return given, experts


def _number(name: str, value: object, device: torch.device) -> Tensor:
    if isinstance(value, Tensor) and value.numel() == 1:
        return shaped(name, value.reshape(1), [[1]], "call", device)
    if isinstance(value, (int, float)) and value >= 0:
        return torch.full((1,), value, dtype=torch.float32, device=device)
    raise ValueError(f"{name} is {value!r}; pass a number of tokens, 0 or more")
