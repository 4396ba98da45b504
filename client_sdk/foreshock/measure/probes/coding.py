"""The indices that a codebook's user or module shows at each record in; its row of readings, and its memory, out."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from foreshock.measure.statistics import codebook as statistics

from .routing import kept


class Coding:
    """The measurement of one codebook: remembers when, and about how often, each of its codes was chosen."""

    def __init__(self, given: Sequence[str], size: int) -> None:
        self._given = tuple(given)  # the names of the tensors
        self._size = size
        self._memory: Tensor | None = None

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        given = dict(zip(self._given, tensors, strict=True))
        if given["index"].is_floating_point():
            given["index"] = statistics.from_one_hot(given["index"])
        index = given["index"] = given["index"].reshape(-1)
        before = kept(self._memory, lambda: statistics.fresh(self._size, index.device), index.device)
        readings, after = statistics.measure(given, before)
        self._memory = before.copy_(after)
        return readings
