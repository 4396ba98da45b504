"""Tensors of one call, by name, in; what a module of `statistics` reads of them, and leaves to the host, out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from foreshock.measure.offers import Offers, Sometimes
from foreshock.measure.sites import Sites
from foreshock.measure.statistics import details, representation
from foreshock.measure.statistics.part import Part


class Measure(Protocol):
    """`features.measure` and `views.measure`, their options given."""

    def __call__(
        self, given: Mapping[str, Tensor], place: str, *, histogram: bool
    ) -> tuple[Tensor, list[Part]]: ...


class Measured:
    """The measurement of one place: adds random numbers where rows are drawn, and offers the parts."""

    def __init__(
        self,
        sites: Sites,
        kind: str,
        place: str,
        given: Sequence[str],
        measure: Measure,
        rows: Callable[[Mapping[str, Tensor]], int],
    ) -> None:
        self._sites = sites
        self._place = place
        self._given = tuple(given)
        self._measure = measure
        self._rows = rows
        self._offers = Offers(kind, sites.spectra, sites.named)
        self._histogram = Sometimes("histogram")

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        given = dict(zip(self._given, (tensor.detach() for tensor in tensors), strict=True))
        rows, device = self._rows(given), tensors[0].device
        if "valid" not in given:
            given["valid"] = torch.ones(rows, dtype=torch.bool, device=device)
        if rows > representation.ROWS:
            given["uniform"] = self._sites.uniform(rows, device)
        if rows > details.ROWS:
            given["uniform_pairs"] = self._sites.uniform(min(rows, representation.ROWS), device)
        histogram = self._histogram.due(self._offers)
        values, parts = self._measure(given, self._place, histogram=histogram)
        for part in parts:
            self._offers.offer(part)
        return values
