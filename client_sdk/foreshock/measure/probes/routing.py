"""What a router says at each record in; its row of readings, and the running counts of its experts, out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import experts as statistics


class Routing:
    """The measurement of one router: remembers how often each expert was chosen in the records so far."""

    def __init__(
        self, sites: Sites, given: Sequence[str], experts: int, top_k: int, *, labelled: bool = True
    ) -> None:
        self._given = tuple(given)  # the names of the tensors
        self._experts = experts
        self._top_k = top_k
        self._labelled = labelled
        self._uniform = sites.uniform
        self._constant = sites.constant
        self._running: Tensor | None = None

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        given = dict(zip(self._given, tensors, strict=True))
        device = given["logits"].device
        if given["logits"].shape[-1] != self._experts:
            raise ValueError(
                f"a router of {self._experts} experts has {given['logits'].shape[-1]} logits here: a shard"
            )
        given["logits"] = given["logits"].reshape(-1, self._experts)
        given["limits"] = self._constant(
            f"limits of {self._experts} experts", statistics.limits(self._experts), device
        )
        tokens = len(given["logits"])
        if "chosen" in given:
            given["chosen"] = given["chosen"].reshape(tokens, -1)
        if tokens > statistics.TOKENS:
            given["uniform"] = self._uniform(tokens, device)
        before = kept(self._running, lambda: torch.zeros(self._experts, device=device), device)
        readings, after = statistics.measure(given, before, self._top_k, labelled=self._labelled)
        self._running = before.copy_(after)
        return readings


class Recomputed:
    """A router that keeps its logits to itself: from its input and its weight, and the choices where it reports them."""

    def __init__(self, sites: Sites, experts: int, top_k: int, *, labelled: bool = True) -> None:
        self._alone = Routing(sites, ("logits",), experts, top_k, labelled=labelled)
        self._reported = Routing(sites, ("logits", "chosen"), experts, top_k, labelled=labelled)

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        floating = [tensor for tensor in tensors if tensor.is_floating_point()]
        chosen = [tensor for tensor in tensors if not tensor.is_floating_point()]
        x, weight, *bias = floating
        logits = statistics.scores(x, weight, bias[0] if bias else None)
        return self._reported([logits, *chosen]) if chosen else self._alone([logits])


def kept(memory: Tensor | None, fresh: Callable[[], Tensor], device: torch.device) -> Tensor:
    """A memory that lives on this device and can be written in any mode; a new one when the model has moved."""
    if memory is not None and memory.device == device:
        return memory
    with torch.inference_mode(False):
        return fresh()
