"""An activation in; its site's readings, and its Gram matrix for the eigenvalues, out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from foreshock.measure.layout import laid
from foreshock.measure.offers import Named, Offers, Sometimes
from foreshock.measure.site import Site
from foreshock.measure.spectra import Spectra
from foreshock.measure.statistics import krylov, picking, representation
from foreshock.measure.statistics.spectrum import Product
from foreshock.series import SeriesSpec

from .activations import as_rows

Uniform = Callable[[int, torch.device], Tensor]
SEED = 0x5EED  # of the products with random vectors: the same at every record


class Embeddings:
    """The measurement of one place's rows; its series carry a label when only some of the columns are measured."""

    def __init__(
        self,
        place: str,
        given: Sequence[str],
        *,
        kind: str,
        spectra: Spectra,
        uniform: Uniform,
        named: Named,
        channels_first: bool = False,
    ) -> None:
        self._place = place
        self._given = tuple(given)  # the names of the tensors: x, and where known valid and labels
        self._offers = Offers(kind, spectra, self._laid)
        self._uniform = uniform
        self._named = named
        self._channels_first = channels_first
        self._wide: bool | None = None  # once a tensor was seen
        self._histogram, self._krylov = Sometimes("histogram"), Sometimes("krylov")
        self._draws: dict[tuple[int, torch.device], krylov.Draws] = {}
        self.site: Site | None = None

    def specs(self) -> list[SeriesSpec]:
        """The series of this place's row."""
        return self._laid(
            representation.series(self._place, wide=self._wide is True, labelled="labels" in self._given)
        )

    def _laid(self, specs: Sequence[SeriesSpec]) -> list[SeriesSpec]:
        return laid(self._named(specs), None if self.site is None else self.site.layout)

    def _alone(self) -> bool:
        """True when this rank has columns that only ranks with other rows have too, and is among the first of these."""
        layout = None if self.site is None else self.site.layout
        return layout is not None and layout.word == "columns" and layout.part == 0

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        tensors = [tensor.detach() for tensor in tensors]
        given = dict(zip(self._given, tensors, strict=True))
        x = given["x"] = as_rows(given["x"], self._channels_first)
        rows = picking.count(x)
        if "valid" not in given:
            given["valid"] = torch.ones(rows, dtype=torch.bool, device=x.device)
        if not rows:  # an expert without tokens
            given = {"x": x.new_zeros(1, x.shape[-1]), "valid": given["valid"].new_zeros(1)}
        if rows > representation.ROWS:
            given["uniform"] = self._uniform(rows, x.device)
        if self._wide is None:
            self._name(x.shape[-1] > representation.COLUMNS)
        readings, product = representation.measure(given)
        wide, histogram = self._wide is True, self._histogram.due(self._offers)
        alone = self._alone()
        sent = self._offers.offer(
            representation.to_finish(product, self._place, wide=wide, histogram=histogram), alone=alone
        )
        if not sent and product.problem.side >= krylov.SMALLEST and self._krylov.due(self._offers):
            problem = krylov.to_finish(product, self._drawn(product), self._place, wide=wide)
            self._offers.offer(problem, alone=alone)
        return readings

    def _name(self, wide: bool) -> None:
        self._wide = wide
        if self.site is not None:
            self.site.specs = tuple(self.specs())

    def _drawn(self, product: Product) -> krylov.Draws:
        side, device = product.problem.side, product.matrix.device
        draws = self._draws.get((side, device))
        if draws is None:
            generator = torch.Generator(device).manual_seed(SEED)
            draws = self._draws[side, device] = krylov.Draws.of(side, generator, device)
        return draws
