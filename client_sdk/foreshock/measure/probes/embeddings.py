"""An activation, a feature matrix or a view in; its site's readings, and its Gram matrix for the eigenvalues, out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from foreshock.measure.site import Site
from foreshock.measure.spectra import Source, Spectra
from foreshock.measure.statistics import picking, representation
from foreshock.series import FrameSpec, SeriesSpec

from .activations import as_rows

Uniform = Callable[[int, torch.device], Tensor]
Named = Callable[[Sequence[SeriesSpec]], list[SeriesSpec]]


class Embeddings:
    """The measurement of one place's rows; its series carry a label when only some of the columns are measured."""

    def __init__(
        self,
        place: str,
        given: Sequence[str],
        *,
        source: Source,
        spectra: Spectra,
        uniform: Uniform,
        named: Named,
        channels_first: bool = False,
    ) -> None:
        self._place = place
        self._given = tuple(given)  # the names of the tensors: x, and where known valid and labels
        self._source = source
        self._spectra = spectra
        self._uniform = uniform
        self._named = named
        self._channels_first = channels_first
        self._wide: bool | None = None  # once a tensor was seen
        self._frame = FrameSpec(())
        self.site: Site | None = None

    def specs(self) -> list[SeriesSpec]:
        """The series of this place's row."""
        return self._named(
            representation.series(self._place, wide=bool(self._wide), labelled="labels" in self._given)
        )

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        tensors = [tensor.detach() for tensor in tensors]
        given = dict(zip(self._given, tensors, strict=True))
        x = given["x"] = as_rows(given["x"], self._channels_first)
        rows = picking.count(x)
        if "valid" not in given:
            given["valid"] = torch.ones(rows, dtype=torch.bool, device=x.device)
        if rows > representation.ROWS:
            given["uniform"] = self._uniform(rows, x.device)
        if self._wide is None:
            self._name(x.shape[-1] > representation.COLUMNS)
        readings, product = representation.measure(given)
        self._spectra.offer(self._source, product.problem, self._frame, product.payload)
        return readings

    def _name(self, wide: bool) -> None:
        self._wide = wide
        self._frame = FrameSpec(tuple(self._named(representation.finished_series(self._place, wide=wide))))
        if self.site is not None:
            self.site.specs = tuple(self.specs())
