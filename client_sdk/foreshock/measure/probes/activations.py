"""Modules in, forward hooks out; each hook hands its module's output to the op and does no arithmetic of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from foreshock.guard import guard
from foreshock.measure.op import observe
from foreshock.measure.site import Site
from foreshock.measure.statistics import representation
from foreshock.measure.transfer import local, local_in_graph

from .choose import Place, innermost, places
from .exporting import is_exporting
from .subject import Attached, Planned, Subject
from .widths import widths

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites

Pick = Callable[[nn.Module, Any, Any], tuple[Sequence[Tensor], bool]]
"""A module, its arguments and its output in; the tensors to show, none to let the call pass, and whether it trains, out."""


class Hook:
    """What a watched module calls with its output. A copy or a pickle of the module gets one that does nothing."""

    def __init__(self, site: Site, pick: Pick | None = None) -> None:
        self.site = site
        self.pick = the_output if pick is None else pick

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        site = self.site
        if torch.compiler.is_compiling():  # no guard: a compiler traces this once, and the op guards itself
            if is_exporting():
                return
            xs, trained = self.pick(module, args, output)
            if xs and (site.layouts is None or site.layouts.in_graphs):
                observe([local_in_graph(x.detach()) for x in xs], site.row, site.ticket, trained)
            return
        if site.lets_pass():
            return
        with guard(f"the hook at {site.place}"):
            xs, trained = self.pick(module, args, output)
            if xs and site.settled(xs[0], trained):
                observe([local(x.detach()) for x in xs], site.row, site.ticket, trained)

    def __reduce__(self) -> tuple[type[Silent], tuple[()]]:
        return Silent, ()


class Silent:
    """A hook that does nothing."""

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        return None


def plan(subject: Subject) -> list[Planned]:
    """The outputs of the model's blocks, layers or stages, or of the modules that the user names."""
    wide = widths(subject.root)
    return [
        Planned(
            place=subject.place(place.name),
            module=type(innermost(place.module)).__name__,
            measured="activations: ranks, spread, non-finite",
            family="representation",
            kind="activations",
            attach=functools.partial(_attach, place, subject.place(place.name), subject.device),
            operations=operations(wide.get(place.name, 0)),
            values=representation.ROWS * wide.get(place.name, 0),
            series=series(subject.place(place.name)),
        )
        for place in places(subject.root, subject.include, subject.exclude)
    ]


def operations(width: int) -> float:
    """About how many a full sample of rows of this width takes: the Gram matrix, and a dozen passes over the rows."""
    kept = min(width, representation.COLUMNS)
    smaller = min(representation.ROWS, kept)
    return 2.0 * representation.ROWS * kept * smaller + 12.0 * representation.ROWS * width


def series(place: str) -> int:
    """How many a place of rows records."""
    return len(representation.series(place)) + len(representation.finished_series(place))


def _attach(place: Place, name: str, device: torch.device, sites: Sites) -> Attached:
    # Before the first compiled call: a graph that exists does not see new hooks.
    site = sites.embeddings(
        ("activations", name), name, "activations", ("x",), device, channels_first=place.channels_first
    )
    return Attached([place.module.register_forward_hook(Hook(site))], [site])


def the_output(module: nn.Module, args: Any, output: Any) -> tuple[Sequence[Tensor], bool]:
    """The first floating tensor of the output."""
    x = first_floating(output)
    return ((), False) if x is None else ((x,), x.requires_grad)


def first_floating(output: Any) -> Tensor | None:
    """The first floating tensor of a module's output, be it a tensor, a tuple, a list or a mapping of them."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    if isinstance(output, dict):
        output = tuple(output.values())
    if isinstance(output, (tuple, list)):
        for part in output:
            if isinstance(part, Tensor) and part.is_floating_point():
                return part
    return None


def as_rows(x: Tensor, channels_first: bool) -> Tensor:
    """[…, width], one row per token; of images, and of sequences with channels first, one per position. A view."""
    if x.dim() < 2:
        return x.reshape(1, -1)
    return x.movedim(1, -1) if x.dim() >= 4 or (x.dim() == 3 and channels_first) else x
