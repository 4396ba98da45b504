"""Modules in; the routers of its mixtures of experts, and hooks that show their logits, out."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from foreshock.measure.statistics import experts as statistics

from .activations import Hook, first_floating
from .choose import evenly
from .routing import Recomputed, Routing
from .subject import Attached, Planned, Subject

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites

SERIES = 1024  # of single experts' loads in one model, at most: beyond it the aggregates alone are kept
_NAMED = re.compile(r"(?:^|_)(?:gate|gates|gating|router|routers|switch|wg)(?:_|$)")
_CLASSED = re.compile(r"Router|Gating|Gate(?![a-z])")
_TOP_K = (
    "top_k",
    "topk",
    "num_experts_per_tok",
    "num_experts_per_token",
    "num_selected_experts",
    "experts_per_token",
    "moe_top_k",
    "moe_router_topk",
    "moe_k",
    "k",
)


@dataclass(frozen=True)
class Router:
    """A router: the module to hook, and the one whose weight holds a row per expert (often the same)."""

    name: str
    module: nn.Module
    head: str  # the name of the latter within the former
    experts: int
    width: int
    top_k: int
    assumed: bool  # nothing says how many experts a token chooses

    @property
    def plain(self) -> bool:
        """True when its output is its logits."""
        return not self.head and type(self.module).forward is nn.Linear.forward

    def pick(self, module: nn.Module, args: Any, output: Any) -> tuple[Sequence[Tensor], bool]:
        """The logits; where it returns something else, what they are computed from, and the choices if there are any."""
        x = first_floating(output)
        if x is None:
            return (), False
        if self.plain:
            return (x,), x.requires_grad
        given = first_floating(args)
        head = module
        for part in self.head.split(".") if self.head else ():
            head = getattr(head, part)
        weight, bias = head.weight, getattr(head, "bias", None)
        if given is None or not isinstance(weight, Tensor) or given.shape[-1] != self.width:
            return (), False
        shown = [given, weight]
        if isinstance(bias, Tensor) and bias.shape == (self.experts,):
            shown.append(bias)
        return (*shown, *self._choices(output)), x.requires_grad

    def _choices(self, output: Any) -> list[Tensor]:
        """The first integers of the output that can be the numbers of chosen experts, a few per token."""
        for part in _parts(output):
            if not isinstance(part, Tensor) or part.dtype not in (torch.int64, torch.int32) or part.dim() < 2:
                continue
            if part.shape[-1] < self.experts or part.shape[-1] == self.top_k:
                return [part]
        return []


def plan(subject: Subject) -> list[Planned]:
    """The routers beside each list of experts."""
    found = {router.name: router for router in routers(dict(subject.modules())) if subject.wants(router.name)}
    chosen = [found[name] for name, _ in evenly([(name, router.module) for name, router in found.items()])]
    labelled = sum(router.experts for router in chosen) <= SERIES
    lines = []
    for router in chosen:
        place = subject.place(router.name)
        read = statistics.TOKENS * (router.experts + (0 if router.plain else router.width))
        lines.append(
            Planned(
                place=place,
                module=type(router.module).__name__,
                measured=f"router of {router.experts} experts, {router.top_k} per token"
                + ", assumed" * router.assumed,
                family="experts",
                kind="router",
                attach=functools.partial(_attach, router, place, subject.device, labelled),
                operations=8.0 * read if router.plain else 2.0 * read * router.experts,
                values=read,
                series=len(statistics.series(place, router.experts, labelled=labelled)),
            )
        )
    return lines


def routers(modules: Mapping[str, nn.Module]) -> list[Router]:
    """Every router that stands beside experts: named as routers are, with a weight that has a row for each expert."""
    children: dict[str, dict[str, nn.Module]] = {}
    for name, module in modules.items():
        if name:
            parent, _, last = name.rpartition(".")
            children.setdefault(parent, {})[last] = module
    found = []
    for parent, beside in children.items():
        experts = [inner for last, inner in beside.items() if _holds_experts(last)]
        for last, module in beside.items():
            if experts and module not in experts and _is_router(last, module):
                name = f"{parent}.{last}" if parent else last
                found += _of(name, module, modules[parent], experts[0])
    return found


def _of(name: str, module: nn.Module, block: nn.Module, experts: nn.Module) -> list[Router]:
    """The router that this module is; several when it is a list of them."""
    count = _count(experts)
    heads = []
    for path, inner in module.named_modules():
        rows, width = _shape(inner)
        if rows >= 2 and (rows == count or (_is_classed(module) and (count is None or rows % count == 0))):
            heads.append((path, inner, rows, width))
    # A module whose only parameters are its head's computes its logits from its input; any other is asked at the head.
    own = {id(parameter) for _, inner, _, _ in heads for parameter in inner.parameters()}
    whole = (
        len(heads) == 1
        and not isinstance(module, (nn.ModuleList, nn.ModuleDict, nn.Sequential))
        and all(id(parameter) in own for parameter in module.parameters())
    )
    made = []
    for path, inner, rows, width in heads:
        top_k = _top_k(rows, inner, module, block)
        full = f"{name}.{path}" if path else name
        made.append(
            Router(
                name=name if whole else full,
                module=module if whole else inner,
                head=path if whole else "",
                experts=rows,
                width=width,
                top_k=top_k or (1 if _takes_one(module, block) else min(2, rows)),
                assumed=top_k is None and not _takes_one(module, block),
            )
        )
    return made


def _attach(router: Router, place: str, device: torch.device, labelled: bool, sites: Sites) -> Attached:
    if router.plain:
        measure: Routing | Recomputed = Routing(
            sites, ("logits",), router.experts, router.top_k, labelled=labelled
        )
    else:
        measure = Recomputed(sites, router.experts, router.top_k, labelled=labelled)
    site = sites.site(
        ("router", place),
        place,
        "router",
        lambda: statistics.series(place, router.experts, labelled=labelled),
        measure,
        device,
    )
    return Attached([router.module.register_forward_hook(Hook(site, router.pick))], [site])


def _parts(output: Any) -> Sequence[Any]:
    if isinstance(output, dict):
        return tuple(output.values())
    return output if isinstance(output, (tuple, list)) else ()


def _is_router(last: str, module: nn.Module) -> bool:
    return _NAMED.search(last.lower()) is not None or _is_classed(module)


def _is_classed(module: nn.Module) -> bool:
    return _CLASSED.search(type(module).__name__) is not None


def _holds_experts(last: str) -> bool:
    return "expert" in last.lower() and not re.search("shared|gate|router", last.lower())


def _count(experts: nn.Module) -> int | None:
    """How many experts this module holds: the length of a list, or the first dimension of weights that are stacked."""
    lists = [inner for inner in experts.modules() if isinstance(inner, (nn.ModuleList, nn.ModuleDict))]
    if lists:
        return len(lists[0]) or None
    stacked = [p for p in experts.parameters() if not is_lazy(p) and p.dim() == 3]
    return stacked[0].shape[0] if stacked else None


def _shape(module: nn.Module) -> tuple[int, int]:
    """Rows and columns of its weight; zeros when it has none."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or is_lazy(weight) or weight.dim() != 2:
        return 0, 0
    return weight.shape[0], weight.shape[1]


def _top_k(experts: int, *holders: nn.Module) -> int | None:
    """How many experts a token chooses, as the modules or their configuration say."""
    for holder in holders:
        for source in (holder, getattr(holder, "config", None), getattr(holder, "args", None)):
            for name in _TOP_K:
                value = getattr(source, name, None)
                if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= experts:
                    return value
    return None


def _takes_one(*holders: nn.Module) -> bool:
    return any(re.search("top1|switch", type(holder).__name__.lower()) for holder in holders)
