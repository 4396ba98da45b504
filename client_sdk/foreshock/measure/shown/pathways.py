"""The pathways of tokens through a mixture of experts as the loop shows them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import pathways as statistics

from .checks import floating, integers, masked, shaped

_CHOSEN = "the experts of each token in each layer, [layers, tokens, chosen], or a list of [tokens, chosen]"


def show(
    sites: Sites,
    name: str,
    chosen: Tensor | Sequence[Tensor],
    *,
    mask: Tensor | None = None,
    weights: Tensor | Sequence[Tensor] | None = None,
    embeddings: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Measure which experts the tokens of a fixed set of samples chose, [layers, tokens, chosen], and how pathways wind.

    ``embeddings`` [layers, experts, width], a vector per expert, such as the weights of the routers; ``weights`` [layers,
    tokens, chosen] of the chosen experts in the mixture.
    """
    if not sites.awaits("router"):
        return
    with sites.clock.spending:
        numbers = integers("chosen", _stacked(chosen), _CHOSEN)
        if numbers.dim() != 3 or 0 in (numbers.shape[0], numbers.shape[2]):
            raise ValueError(f"chosen has shape {list(numbers.shape)}; pass {_CHOSEN}")
        device = numbers.device
        given = {"chosen": numbers}
        if mask is not None:
            given["valid"] = masked(mask, numbers.shape[1:2], "token", device)
        if embeddings is not None:
            vectors = floating("embeddings", _stacked(embeddings), "[layers, experts, width]")
            if vectors.dim() != 3 or vectors.shape[0] != numbers.shape[0]:
                raise ValueError(
                    f"embeddings has shape {list(vectors.shape)}; pass a vector per expert of each of the"
                    f" {numbers.shape[0]} layers, [layers, experts, width]: the weights of the routers"
                )
            given["embeddings"] = shaped("embeddings", vectors, [vectors.shape], "layer", device)
        if weights is not None:
            share = floating("weights", _stacked(weights), "[layers, tokens, chosen]")
            given["weights"] = shaped("weights", share, [numbers.shape], "choice", device)
        names = tuple(given)
        site = sites.site(
            ("pathways", name, names, device),
            name,
            "router",
            lambda: statistics.series(name, names),
            lambda tensors: statistics.measure(dict(zip(names, tensors, strict=True))),
            device,
        )
        sites.show(site, list(given.values()))


def _stacked(value: object) -> object:
    """A list of equal tensors as one."""
    if isinstance(value, (list, tuple)) and value and all(isinstance(one, Tensor) for one in value):
        if len({one.shape for one in value}) > 1:
            raise ValueError(
                f"the layers have shapes {[list(one.shape) for one in value]}; pass tensors of one shape"
            )
        return torch.stack([one.detach() for one in value])
    return value
