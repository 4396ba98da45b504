"""Value heads in (one output, and a name that says so); hooks on what they read and on what they say, out."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from foreshock.measure.statistics import heads
from foreshock.measure.statistics.representation import ROWS
from foreshock.measure.statistics.table import STATISTICS

from .activations import Hook, first_floating, operations, series
from .subject import Attached, Planned, Subject

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites

_NAMED = re.compile(
    r"(v|vf|q|qf|value|values|critic|score|reward|baseline)\d*(_?(head|net|out|output|layer|proj|fn|fc))?\d*"
)


def plan(subject: Subject) -> list[Planned]:
    """The features that each value head reads, and the values it gives."""
    lines = []
    for name, module in subject.modules():
        if not isinstance(module, nn.Linear) or not is_value_head(name, module) or not subject.wants(name):
            continue
        place, width = subject.place(name), module.in_features
        lines += [
            Planned(
                place=f"{place}.input",
                module=type(module).__name__,
                measured="features of a value head: ranks, spread, non-finite",
                family="representation",
                kind="activations",
                attach=functools.partial(_attach_input, module, f"{place}.input", subject.device),
                operations=operations(width),
                values=ROWS * width,
                series=series(place),
            ),
            Planned(
                place=place,
                module=type(module).__name__,
                measured="values: mean, spread",
                family="plasticity",
                kind="units",
                attach=functools.partial(_attach_output, module, place, subject.device),
                operations=4.0 * ROWS,
                values=ROWS,
                series=len(heads.YIELDS),
            ),
        ]
    return lines


def is_value_head(name: str, module: nn.Module) -> bool:
    """True of a linear layer of one output with a name, or within a module of a name, such as value, critic, v_head, score."""
    one = isinstance(module, nn.Linear) and module.out_features == 1
    return one and any(_NAMED.fullmatch(part.lower()) for part in name.split("."))


def the_input(module: Any, args: Any, kwargs: Any) -> tuple[Sequence[Tensor], bool]:
    """What the linear layer is called with."""
    x = first_floating(args)
    x = first_floating(kwargs) if x is None else x
    if x is None:
        return (), False
    return (x,), torch.is_grad_enabled() and (x.requires_grad or module.weight.requires_grad)


def _attach_input(module: nn.Module, place: str, device: torch.device, sites: Sites) -> Attached:
    site = sites.embeddings(("value head", place), place, "activations", ("x",), device)
    handle = module.register_forward_pre_hook(Hook(site, the_input), with_kwargs=True)
    return Attached([handle], [site])


def _attach_output(module: nn.Module, place: str, device: torch.device, sites: Sites) -> Attached:
    site = sites.site(
        ("value head", place),
        place,
        "units",
        lambda: [STATISTICS[name].series(place) for name in heads.YIELDS],
        lambda tensors: heads.values(tensors[0]),
        device,
    )
    return Attached([module.register_forward_hook(Hook(site))], [site])
