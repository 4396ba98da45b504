"""The micro-batches that one step accumulates in; how much their gradients differ out.

Only gradients that the training accumulates itself are seen: a gradient that is merely asked for (`torch.autograd.grad`)
reaches no accumulation, so a penalty's or our own passes do not count as micro-batches.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer
from torch.utils.hooks import RemovableHandle

from foreshock.guard import guard
from foreshock.measure.statistics import gradients, sketch
from foreshock.measure.statistics.table import STATISTICS

from .stepping import After, Held, Stepped, Steps, embedded, local, write

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites

YIELDS = ("gradient_noise_scale", "micro_batches")
MATRICES = 8  # that stand for the model


@dataclass
class _Part:
    """What has been accumulated in one parameter's gradient in the open step."""

    stride: int
    step: int = -1  # the open step that it is about
    closed: bool = False  # after the first update of that step
    calls: int = 0
    gradient: Tensor | None = None  # the sketch of what is there so far
    square: Tensor | None = None  # the sum of the squared norms of what was added


class MicroBatches:
    """Looks at a few weight matrices after each backward pass of a due step, and compares when the optimizer steps."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._sites: Sites | None = None
        self._parts: dict[int, dict[int, _Part]] = {}  # of each optimizer, by parameter
        self._stepped: dict[int, int] = {}  # the open step in which an optimizer last stepped
        self._history: dict[int, Tensor] = {}
        self._handles: list[RemovableHandle] = []

    def due(self, sites: Sites, optimizer: Optimizer) -> bool:
        self._sites = sites
        self._stepped[id(optimizer)] = sites.clock.opened
        return sites.awaits("noise")

    def before(self, sites: Sites, stepped: Stepped) -> After | None:
        if id(stepped.optimizer) not in self._parts:
            self._begin(stepped)
            return None
        chosen = self._parts[id(stepped.optimizer)]
        parts = [chosen[id(one.parameter)] for p in stepped.held for one in p if id(one.parameter) in chosen]
        parts = [part for part in parts if part.step == sites.clock.opened and not part.closed]
        for part in chosen.values():
            part.closed, part.step = True, sites.clock.opened
        calls = max((part.calls for part in parts), default=0)
        squares, sums = [], []
        for part in parts:
            if part.calls == calls and part.square is not None and part.gradient is not None:
                squares.append(part.square * part.stride)
                sums.append(part.gradient.square().sum() * part.stride)
            part.gradient = part.square = None
        if calls < 2:
            return None
        site = stepped.site(
            sites,
            self,
            "noise",
            (),
            lambda: [STATISTICS[name].series(stepped.whole, stepped.labels) for name in YIELDS],
        )
        if site is None:
            return None
        signal = gradients.signal(torch.stack(squares).sum(), torch.stack(sums).sum(), calls)
        history = self._history.get(stepped.number, torch.zeros(2, device=stepped.device))
        noise, self._history[stepped.number] = gradients.noise(signal, history)
        write(sites, site, [noise, torch.full_like(noise, calls)])
        return None

    def remove(self) -> None:
        """Take the hooks off the parameters."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _begin(self, stepped: Stepped) -> None:
        tokens = embedded(self._steps.module())
        matrices = [
            one
            for place in stepped.held
            for one in place
            if one.weight.dim() >= 2 and id(one.parameter) not in tokens
        ]
        chosen = self._parts[id(stepped.optimizer)] = {}
        for one in _evenly(matrices):
            stride = sketch.layout([[one.weight]]).strides[0][0]
            part = chosen[id(one.parameter)] = _Part(stride)
            hook = functools.partial(self._seen, id(stepped.optimizer), part)
            handle = one.parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._handles.append(handle)

    def _seen(self, optimizer: int, part: _Part, parameter: nn.Parameter) -> None:
        sites = self._sites
        if sites is None or not sites.awaits("noise") or torch.compiler.is_compiling():
            return
        with guard("the hook on a gradient"), sites.clock.spending, torch.no_grad():
            opened = sites.clock.opened
            if part.step != opened:
                fresh = (
                    self._stepped.get(optimizer, -1) >= opened - 1
                )  # else this is not where the sum begins
                part.step, part.closed, part.calls = opened, not fresh, 0
                part.gradient = part.square = None
            gradient = parameter.grad
            if part.closed or gradient is None or gradient.is_sparse:
                return
            now = sketch.strided(local(gradient.detach()), part.stride).to(torch.float32, copy=True)
            added = now if part.gradient is None else now - part.gradient
            square = added.square().sum()
            part.square = square if part.square is None else part.square + square
            part.gradient = now
            part.calls += 1


def _evenly(matrices: list[Held]) -> list[Held]:
    if len(matrices) <= MATRICES:
        return matrices
    return [matrices[round(i * (len(matrices) - 1) / (MATRICES - 1))] for i in range(MATRICES)]
