"""The predictions of a model that adapts itself to its test data, as the loop shows them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import adaptation as statistics

from .classifier import flatten
from .policy_inputs import tokens_at_most


def show(sites: Sites, logits: Tensor, *, mask: Tensor | None = None, name: str = "adaptation") -> None:
    """Measure a batch of predictions [samples, classes], of any size, as it is adapted on: how sure, and how many classes."""
    if not sites.awaits("adaptation"):
        return
    with sites.clock.spending:
        given = flatten(logits, None, mask)
        if not len(given["valid"]):
            return
        device, classes = given["logits"].device, given["logits"].shape[-1]
        site = sites.site(
            ("adaptation", name, classes, device),
            name,
            "adaptation",
            lambda: statistics.series(name),
            _Adapting(sites, classes, device),
            device,
        )
        sites.show(site, list(given.values()))


class _Adapting:
    """Measures one batch after another, and remembers what was predicted lately."""

    def __init__(self, sites: Sites, classes: int, device: torch.device) -> None:
        self._sites = sites
        self._shape = (statistics.ROWS, classes)
        self._device = device
        self._memory: Tensor | None = None

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        logits, valid = tensors
        if self._memory is None:
            with torch.inference_mode(False):  # made in inference mode it could not be written outside
                self._memory = torch.zeros(self._shape, device=self._device)
        given, most = {"logits": logits, "valid": valid}, tokens_at_most(logits.shape[-1])
        if len(valid) > most:
            given["uniform"] = self._sites.uniform(len(valid), self._device)
        return statistics.measure(given, self._memory, most)
