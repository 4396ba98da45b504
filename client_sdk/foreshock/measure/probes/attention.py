"""Attention modules in; what the heads of each look at, or a line that says why it cannot be seen, out."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import torch
from torch import nn

from foreshock.measure.placements import splits_heads
from foreshock.measure.statistics import attention

from . import attending, attention_calls
from .attention_modules import Way, heads_of, recognised, way, width_of
from .choose import evenly
from .subject import Attached, Planned, Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from foreshock.measure.site import Site
    from foreshock.measure.sites import Sites

KEYS = 2048  # that a sequence is taken to have where costs are estimated


def plan(subject: Subject) -> list[Planned]:
    """The attention modules of the model, evenly spaced where there are many."""
    found = [(name, module) for name, module in recognised(subject.modules()) if subject.wants(name)]
    return [_line(subject, name, module) for name, module in evenly(found)]


def _line(subject: Subject, name: str, module: nn.Module) -> Planned:
    place, heads, seen = subject.place(name), heads_of(module), way(module)
    if seen.hidden:
        return Planned(
            place=place,
            module=type(module).__name__,
            measured=f"attention: not visible within {seen.hidden}; run.observe.attention shows q and k",
            family="attention",
            kind="attention",
            attach=_nothing,
        )
    read = attention.SEQUENCES * KEYS * width_of(module)
    return Planned(
        place=place,
        module=type(module).__name__,
        measured="attention: entropy, sink and logits of heads" + ("" if seen.fused else ", in eager code"),
        family="attention",
        kind="attention",
        attach=functools.partial(_attach, module, place, seen, heads, subject.device),
        operations=4.0 * attention.QUERIES * read,
        values=2.0 * read,
        series=len(attention.series("", heads)) if heads else 0,
    )


def _attach(
    module: nn.Module, place: str, seen: Way, heads: int, device: torch.device, sites: Sites
) -> Attached:
    group = sites.layouts.group
    if not sites.layouts.in_graphs:
        attention_calls.leave_graphs()
    layer = Layer(place, heads, device, sites, split=group is not None and splits_heads(module, group))
    watching = attending.Watching(module, sites, layer, softmax=seen.softmax)
    if not seen.fused:  # compiled code does not show a softmax: its silence would mean nothing
        return Attached([watching])
    return Attached([*attention_calls.hooks(module), watching], [layer.site])


def _nothing(sites: Sites) -> Attached:
    return Attached()


class Layer:
    """Measures the calls of one module. How many heads there are, and whether keys are seen, its first call shows."""

    def __init__(
        self, place: str, heads: int, device: torch.device, sites: Sites, *, split: bool = False
    ) -> None:
        self._place = place
        self._split = split  # over ranks: each has some of the heads
        self._heads = heads  # as the module says; 0 where it does not
        self._bounded = True
        self._named = False
        self._sites = sites
        self._call: attention_calls.Call | None = None
        self.site: Site = sites.site(
            ("attention", place),
            place,
            "attention",
            lambda: attention.series(place, heads),
            self._measure,
            device,
        )

    def lets_pass(self) -> bool:
        """True when no call of the open step is to be recorded."""
        return self.site.lets_pass()

    def show(self, call: attention_calls.Call) -> None:
        """Measure the call, if it is this place's turn."""
        if not call.q.numel() or not self.site.wanted(call.trained):
            return
        self.site.off = True  # until the measurement has succeeded: a site speaks its fault once
        self._call = self._per_head(call)
        try:
            self._name(self._call)
            if self.site.layout is None:
                self._sites.layouts.settle_heads(self.site, self._call.q.shape[1], split=self._split)
            self.site.take([self._call.q], self.site.row, call.trained)
        finally:
            self._call = None
        self.site.off = False

    def _per_head(self, call: attention_calls.Call) -> attention_calls.Call:
        """With four dimensions each."""
        q, k, mask = call.q, call.k, call.mask
        if q.dim() == 3:
            stacked = k is None and self._heads > 0 and q.shape[0] % self._heads == 0
            q = q.reshape(-1, self._heads, *q.shape[1:]) if stacked else q.unsqueeze(1)
            k = None if k is None else k.unsqueeze(1)
            mask = mask.unsqueeze(1) if mask is not None and mask.dim() == 3 else mask
        if k is not None and k.shape[0] == 1:
            k = k.expand(q.shape[0], -1, -1, -1)
        return dataclasses.replace(call, q=q, k=k, mask=mask)

    def _name(self, call: attention_calls.Call) -> None:
        """The first call gives the series their final number, before the first of their rows is sent."""
        if self._named:
            return
        self._named = True
        heads, bounded = call.q.shape[1], call.k is not None
        if (heads, bounded) == (self._heads, self._bounded):
            return
        self._heads, self._bounded = heads, bounded
        self.site.specs = tuple(self._sites.named(attention.series(self._place, heads, bounded=bounded)))
        with torch.inference_mode(False):  # a row made in inference mode could not be written outside it
            self.site.row = torch.zeros(len(self.site.specs), device=self.site.row.device)

    def _measure(self, _: Sequence[Tensor]) -> Tensor:
        call = self._call
        if call is None:
            raise AssertionError("an attention layer is measured by show()")
        uniform = self._sites.uniform(attention.QUERIES, call.q.device)
        if call.k is None:
            found = attention.of_logits(call.q, uniform)
        else:
            found = attention.of_queries(
                call.q, call.k, uniform, mask=call.mask, causal=call.causal, scale=call.scale
            )
        levels = self._sites.constant("attention levels", attention.LEVELS, call.q.device)
        return attention.layer(found, self._heads, levels, bounded=self._bounded)
