"""The micro-batches that one step accumulates in; how much their gradients differ out.

Only gradients that the training accumulates itself are seen: a gradient that is merely asked for (`torch.autograd.grad`)
reaches no accumulation, so a penalty's or our own passes do not count as micro-batches.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer
from torch.utils.hooks import RemovableHandle

from foreshock.guard import guard
from foreshock.measure.site import Site
from foreshock.measure.statistics import gradients, sketch
from foreshock.measure.statistics.table import STATISTICS
from foreshock.measure.transfer import local

from .stepped import Held, Stepped, embedded, write
from .stepping import After, Steps

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites

YIELDS = ("gradient_noise_scale", "micro_batches")
MATRICES = 8  # that stand for the model
QUIET = 10  # steps without a look after a step of one backward pass; twice as many after each further one


@dataclass(eq=False)
class _Part:
    """What has been accumulated in one parameter's gradient in the open step."""

    stride: int
    step: int = -1  # the open step that it is about
    closed: bool = False  # after the first update of that step
    calls: int = 0
    gradient: Tensor | None = None  # the sketch of what is there so far
    square: Tensor | None = None  # the sum of the squared norms of what was added

    def begin(self, step: int, *, closed: bool) -> None:
        """Forget what was accumulated before."""
        self.step, self.closed, self.calls = step, closed, 0
        self.gradient = self.square = None

    def add(self, gradient: Tensor) -> None:
        """One more backward pass has left this."""
        added = gradient if self.gradient is None else gradient - self.gradient
        square = added.square().sum()
        self.square = square if self.square is None else self.square + square
        self.gradient = gradient
        self.calls += 1


@dataclass(eq=False)
class _Watched:
    """One optimizer and the parameters that stand for what it steps."""

    site: Site
    history: Tensor
    stepped: int  # the open step of its last update
    parts: list[_Part] = field(default_factory=list)
    quiet: int = QUIET // 2
    until: int = 0  # the open step before which it does not look

    def looks(self, sites: Sites) -> bool:
        """True when a record is due."""
        return sites.clock.opened >= self.until and sites.awaits("noise")


class MicroBatches:
    """Looks at a few weight matrices after each backward pass of a due step, and compares when the optimizer steps.

    Where steps turn out to have one backward pass each, it looks again after ten steps, then twenty, forty and so on.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._sites: Sites | None = None
        self._watched: dict[int, _Watched] = {}  # by optimizer
        self._handles: list[RemovableHandle] = []

    def due(self, sites: Sites, optimizer: Optimizer) -> bool:
        self._sites = sites
        watched = self._watched.get(id(optimizer))
        if watched is None:
            return sites.awaits("noise")
        watched.stepped = sites.clock.opened
        return watched.looks(sites)

    def before(self, sites: Sites, stepped: Stepped) -> After | None:
        watched = self._watched.get(id(stepped.optimizer))
        if watched is None:
            self._begin(sites, stepped)
            return None
        opened = sites.clock.opened
        parts = [part for part in watched.parts if part.step == opened and not part.closed]
        calls = max((part.calls for part in parts), default=0)
        squares, sums = [], []
        for part in parts:
            if part.calls == calls and part.square is not None and part.gradient is not None:
                squares.append(part.square * part.stride)
                sums.append(part.gradient.square().sum() * part.stride)
        for part in watched.parts:
            part.begin(opened, closed=True)
        if calls == 1:
            watched.quiet *= 2
            watched.until = opened + watched.quiet
        if calls < 2 or watched.site in sites.clock.recorded:
            return None
        watched.quiet = QUIET
        signal = gradients.signal(torch.stack(squares).sum(), torch.stack(sums).sum(), calls)
        noise, watched.history = gradients.noise(signal, watched.history)
        write(sites, watched.site, [noise, torch.full_like(noise, calls)])
        return None

    def remove(self) -> None:
        """Take the hooks off the parameters."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _begin(self, sites: Sites, stepped: Stepped) -> None:
        tokens = embedded(self._steps.module())
        held = [one for place in stepped.held for one in place]
        matrices = [one for one in held if one.weight.dim() >= 2 and id(one.parameter) not in tokens]
        specs = [STATISTICS[name].series(stepped.whole, stepped.labels) for name in YIELDS]
        site = stepped.site(sites, self, "noise", (), lambda: specs)
        if site is None or not matrices:
            return
        watched = self._watched[id(stepped.optimizer)] = _Watched(
            site, torch.zeros(2, device=stepped.device), sites.clock.opened
        )
        for one in _evenly(matrices):
            part = _Part(sketch.layout([[one.weight]]).strides[0][0])
            watched.parts.append(part)
            hook = functools.partial(self._seen, watched, part)
            handle = one.parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._handles.append(handle)

    def _seen(self, watched: _Watched, part: _Part, parameter: nn.Parameter) -> None:
        sites = self._sites
        if sites is None or torch.compiler.is_compiling() or not watched.looks(sites):
            return
        with guard("the hook on a gradient"), sites.clock.spending, torch.no_grad():
            sites.clock.spending.bill(watched.site.turn)
            opened = sites.clock.opened
            if part.step != opened:  # closed when no update has come before: this is not where the sum begins
                part.begin(opened, closed=watched.stepped < opened - 1)
            gradient = parameter.grad
            if part.closed or gradient is None or gradient.is_sparse:
                return
            part.add(sketch.strided(local(gradient), part.stride).to(torch.float32, copy=True))


def _evenly(matrices: list[Held]) -> list[Held]:
    if len(matrices) <= MATRICES:
        return matrices
    return [matrices[round(i * (len(matrices) - 1) / (MATRICES - 1))] for i in range(MATRICES)]
