"""Modules in; hooks on what follows their nonlinearities out: how many units are dormant or dead and how many
entries are zero, over a window of samples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from foreshock.measure.statistics import picking, units
from foreshock.measure.statistics.table import STATISTICS
from foreshock.series import SeriesSpec

from .activations import Hook, as_rows, first_floating
from .subject import Attached, Planned, Subject
from .widths import widths

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites

MOST_PLACES = 24  # of one model; more are sampled evenly
ROWS = 1024  # tokens, samples or positions of one record
WINDOW = 4096  # of them make a reading that can be trusted
_NONLINEAR = ("relu", "gelu", "silu", "swish", "mish", "elu", "softplus", "tanh")  # in a class's name
_ATTENTION = ("attention", "attn")


@dataclass(frozen=True)
class Layer:
    """Where a layer's activations can be had: what a module returns, or what it is given."""

    name: str
    module: nn.Module
    given: bool
    channels_first: bool

    @property
    def labels(self) -> dict[str, str]:
        """What tells the two apart."""
        return {"at": "input"} if self.given else {}


def plan(subject: Subject) -> list[Planned]:
    """The nonlinear modules; where the nonlinearity is a function, the input of the linear layer or convolution after it."""
    wide = widths(subject.root)
    return [
        Planned(
            place=subject.place(layer.name),
            module=type(layer.module).__name__,
            measured="dormant and dead units",
            family="plasticity",
            kind="units",
            attach=functools.partial(_attach, layer, subject.place(layer.name), subject.device),
            operations=5.0 * ROWS * _width(layer, wide),
            values=ROWS * _width(layer, wide),
            series=len(units.YIELDS),
            given=layer.given,
        )
        for layer in _evenly([layer for layer in layers(subject.modules()) if subject.wants(layer.name)])
    ]


def _width(layer: Layer, wide: Mapping[str, int]) -> int:
    """How many units there should be."""
    if layer.given:
        return int(getattr(layer.module, "in_features", 0) or getattr(layer.module, "in_channels", 0))
    return wide.get(layer.name, 0)


def layers(modules: Sequence[tuple[str, nn.Module]]) -> list[Layer]:
    """One per hidden layer, in the model's order; attention's own projections have no units."""
    children: dict[str, list[tuple[str, nn.Module]]] = {}
    for name, module in modules:
        if name:
            children.setdefault(name.rpartition(".")[0], []).append((name, module))
    found: list[Layer] = []
    for parent, module in modules:
        last = parent.rpartition(".")[2].lower()
        if not any(word in type(module).__name__.lower() or word in last for word in _ATTENTION):
            found += _layers(children.get(parent, []))
    order = {name: index for index, (name, _) in enumerate(modules)}
    return sorted(found, key=lambda layer: order[layer.name])


class Window:
    """Adds up the activity of a place's units until enough rows have been seen, and begins again."""

    def __init__(self, uniform: Callable[[int, torch.device], Tensor], channels_first: bool) -> None:
        self._uniform = uniform
        self._channels_first = channels_first
        self._before: tuple[Tensor, Tensor] | None = None  # the last full window
        self._open: tuple[Tensor, Tensor] | None = None
        self._rows = 0

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        x = as_rows(tensors[0], self._channels_first)
        count = picking.count(x)
        if count > ROWS:
            x = picking.pick(x, (self._uniform(ROWS, x.device) * count).long().clamp_max_(count - 1))
        now = units.activity(picking.rows(x))
        if self._before is not None and self._before[0].shape != now[0].shape:
            self._before = None
        if self._open is not None and self._open[0].shape != now[0].shape:
            self._open, self._rows = None, 0
        self._open = now if self._open is None else units.joined([self._open, now])
        self._rows += min(count, ROWS)
        if self._rows >= WINDOW:
            self._before, self._open, self._rows = self._open, None, 0
            return units.shares(*self._before)
        both = self._open if self._before is None else units.joined([self._before, self._open])
        return units.shares(*both)


def series(place: str, labels: dict[str, str]) -> list[SeriesSpec]:
    """What a place's row holds, in order."""
    taus = [{"tau": str(tau)} for tau in units.DORMANT]
    return [
        STATISTICS[name].series(place, {**labels, **more})
        for name, more in zip(units.YIELDS, [*taus, {}, {}, {}], strict=True)
    ]


def _attach(layer: Layer, place: str, device: torch.device, sites: Sites) -> Attached:
    site = sites.site(
        ("units", place, layer.given),
        place,
        "units",
        lambda: series(place, layer.labels),
        Window(sites.uniform, layer.channels_first),
        device,
        where=f"{place}.input" if layer.given else place,
    )
    hook = Hook(site, _the_input) if layer.given else Hook(site)
    return Attached(
        [layer.module.register_forward_hook(hook)]
    )  # no site: a branch that never runs is no fault


def _the_input(module: nn.Module, args: Any, output: Any) -> tuple[Sequence[Tensor], bool]:
    x, y = first_floating(args), first_floating(output)
    return ((), False) if x is None or y is None else ((x,), y.requires_grad)


def _layers(children: Sequence[tuple[str, nn.Module]]) -> list[Layer]:
    """Of one parent: its nonlinear modules, unless it has fewer of them than hidden layers (one module called for each)."""
    nonlinear = [(name, module) for name, module in children if _is_nonlinear(module)]
    weighted = [(name, module) for name, module in children if _widths(module) is not None]
    convolutional = weighted != [] and all(isinstance(m, nn.modules.conv._ConvNd) for _, m in weighted)
    hidden = [
        (name, module) for (_, before), (name, module) in pairwise(weighted) if _follows(before, module)
    ]
    if len(nonlinear) >= len(hidden):
        return [Layer(name, module, False, convolutional) for name, module in nonlinear]
    return [Layer(name, module, True, convolutional) for name, module in hidden]


def _is_nonlinear(module: nn.Module) -> bool:
    name = type(module).__name__.lower()
    leaf = not any(True for _ in module.children())
    return leaf and _widths(module) is None and any(word in name for word in _NONLINEAR)


def _widths(module: nn.Module) -> tuple[int, int] | None:
    """Inputs and outputs of a linear layer or a convolution."""
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.in_channels, module.out_channels
    if "linear" in type(module).__name__.lower():
        given, returned = getattr(module, "in_features", None), getattr(module, "out_features", None)
        if isinstance(given, int) and isinstance(returned, int):
            return given, returned
    return None


def _follows(before: nn.Module, after: nn.Module) -> bool:
    first, second = _widths(before), _widths(after)
    same = isinstance(before, nn.modules.conv._ConvNd) == isinstance(after, nn.modules.conv._ConvNd)
    if not same or first is None or second is None:
        return False
    gated = (
        second[0] > second[1] and first[1] == 2 * second[0]
    )  # one projection for the gate and what it gates
    return first[1] == second[0] or gated


def _evenly(found: list[Layer]) -> list[Layer]:
    if len(found) <= MOST_PLACES:
        return found
    step = (len(found) - 1) / (MOST_PLACES - 1)
    return [found[round(index * step)] for index in range(MOST_PLACES)]
