"""A policy's batch as the loop shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import openness
from foreshock.measure.statistics import policy as statistics
from foreshock.measure.statistics.tokens import YIELDS
from foreshock.measure.transfer import moved
from foreshock.series import SeriesSpec

from .policy_inputs import flatten, tokens_at_most

# The step in which a batch was last measured: the first of a step counts, whatever is given of the next.
_measured: WeakKeyDictionary[Sites, int] = WeakKeyDictionary()
_P80 = YIELDS.index("policy_entropy_p80")


def show(sites: Sites, logits: Tensor | None = None, **given: Any) -> None:
    """Measure a policy's batch: entropies, and what else the given tensors allow. `policy_inputs.flatten` says what that is.

    The log-probabilities of the actions are computed from the logits unless ``logprobs`` gives them.
    """
    if not sites.awaits("policy") or _measured.get(sites) == sites.clock.opened:
        return
    with sites.clock.spending:
        tensors, batch, head = flatten(logits, **given)
        if any(tensor.numel() == 0 for tensor in tensors.values()):
            return
        valid = tensors["valid"]
        vocabulary = tensors["head"].shape[0] if "head" in tensors else tensors["logits"].shape[-1]
        most = tokens_at_most(vocabulary)
        if len(valid) > most:
            tensors["uniform"] = sites.uniform(len(valid), valid.device)
        measure = _Policy(
            statistics.Inputs(batch, vocabulary, most, head), tuple(tensors), sites, valid.device
        )
        key = ("policy", measure.inputs, measure.names, valid.device)
        site = sites.site(key, "policy", "policy", measure.specs, measure, valid.device)
        sites.show(site, list(tensors.values()))
        _show_openness(sites, site.measure, key, tensors)


class _Policy:
    """The measurement of batches of one kind; remembers the last mean entropy. Made at each showing, the first one stays."""

    def __init__(
        self, inputs: statistics.Inputs, names: tuple[str, ...], sites: Sites, device: torch.device
    ) -> None:
        self.inputs = inputs
        self.names = names
        self.seen: tuple[statistics.Seen, Tensor] | None = None  # and the row
        self._sites = sites
        self._device = device

    def specs(self) -> Sequence[SeriesSpec]:
        """The series of its row; asked once, by the site that keeps it."""
        self._plan = statistics.plan(self.inputs)
        with torch.inference_mode(False):  # a tensor made in inference mode could not be written outside it
            self._constants = {
                name: moved(torch.as_tensor(values, dtype=dtype, device="cpu").reshape(shape), self._device)
                for name, (values, shape, dtype) in self._plan.constants.items()
            }
            self._before = torch.full((1,), math.nan, device=self._device)
        return self._plan.series

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        given = dict(zip(self.names, tensors, strict=True), before=self._before)
        with torch.inference_mode():  # a quarter off each small operator, beside no_grad
            seen = statistics.see(given, self._plan)
            row = statistics.measure(given, self._plan, self._constants, seen)
            self._before.copy_(row.narrow(0, 0, 1))  # the mean entropy comes first
        self.seen = seen, row
        _measured[self._sites] = self._sites.clock.opened
        return row


def _show_openness(sites: Sites, measure: Any, key: tuple[object, ...], tensors: dict[str, Tensor]) -> None:
    """What the mean entropy hides, of the tokens just measured: a second read of some of the logits, so at a cadence of its own."""
    seen, measure.seen = measure.seen, None
    if seen is None or not sites.awaits("diversity"):
        return
    what, row = seen
    given = {"entropy": what.tokens["entropy"], "asked": what.tokens["asked"], "row": row}
    given |= {name: tensors[name] for name in ("logits", "hidden", "head", "bias") if name in tensors}
    if what.rows is not None:
        given["rows"] = what.rows
    opened = _Openness(measure.inputs, tuple(given), row.device)
    site = sites.site(("openness", *key), "policy", "diversity", opened.specs, opened, row.device)
    sites.show(site, list(given.values()))


class _Openness:
    """The measurement of nucleus, forks and sequences; remembers the threshold of forks."""

    def __init__(self, inputs: statistics.Inputs, names: tuple[str, ...], device: torch.device) -> None:
        self._inputs = inputs
        self._names = names
        self._device = device

    def specs(self) -> Sequence[SeriesSpec]:
        """The series of its row; asked once, by the site that keeps it."""
        with torch.inference_mode(False):
            self._state = torch.zeros(openness.STATE, device=self._device)
        return openness.series(sequences=self._inputs.batch.sequences)

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        given = dict(zip(self._names, tensors, strict=True))
        row = given["row"]
        with torch.inference_mode():
            return openness.measure(
                given,
                given.get("rows"),
                given["entropy"],
                given["asked"],
                row.select(0, 0),
                row.select(0, _P80),
                self._state,
                sequences=self._inputs.batch.sequences,
                scale=self._inputs.head.scale,
                softcap=self._inputs.head.softcap,
            )
