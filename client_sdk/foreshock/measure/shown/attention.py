"""Queries and keys of an attention layer as a custom kernel has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import attention


def show(
    sites: Sites,
    name: str,
    q: Tensor,
    k: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    softcap: float | None = None,
    exact: bool = False,
) -> None:
    """Measure queries [sequences, heads, queries, width] and keys [sequences, heads or fewer, keys, width].

    ``mask`` is true where a query may look, or a bias on the logits; ``exact`` takes entropies over every query.
    """
    if not sites.awaits("attention"):
        return
    with sites.clock.spending:
        q, k = _four("q", q), _four("k", k)
        _fit(q, k)
        heads, device = q.shape[1], q.device
        given = [q.detach(), k.detach()]
        if mask is not None:
            given.append(_mask(mask, q, k))

        site = sites.site(
            ("attention", "shown", name, heads, device),
            name,
            "attention",
            lambda: attention.series(name, heads),
            _Kernel(sites, heads),
            device,
        )
        if isinstance(site.measure, _Kernel):
            site.measure.options = {"causal": causal, "scale": scale, "softcap": softcap, "exact": exact}
        sites.show(site, given)


class _Kernel:
    """The measurement of one place, with what its last showing said beside the tensors."""

    def __init__(self, sites: Sites, heads: int) -> None:
        self._sites = sites
        self._heads = heads
        self.options: dict[str, Any] = {}

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        q, k, *masks = tensors
        found = attention.of_queries(
            q,
            k,
            self._sites.uniform(attention.QUERIES, q.device),
            mask=masks[0] if masks else None,
            **self.options,
        )
        levels = self._sites.constant("attention levels", attention.LEVELS, q.device)
        return attention.layer(found, self._heads, levels)


def _four(name: str, x: object) -> Tensor:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        what = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{name} is {what}; pass a floating tensor [sequences, heads, tokens, width]")
    if x.dim() not in (3, 4) or 0 in x.shape:
        raise ValueError(
            f"{name} has shape {list(x.shape)}; pass [sequences, heads, tokens, width] or [heads, tokens, width]"
        )
    return x if x.dim() == 4 else x.unsqueeze(0)


def _fit(q: Tensor, k: Tensor) -> None:
    both = f"q has shape {list(q.shape)}, k {list(k.shape)}"
    if q.device != k.device:
        raise ValueError(f"q is on {q.device}, k on {k.device}; pass both from one device")
    if q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
        raise ValueError(f"{both}; pass the same sequences and the same width per head")
    if q.shape[1] % k.shape[1]:
        raise ValueError(
            f"{both}; pass heads before tokens, x.transpose(1, 2), and as many heads of k as divide those of q"
        )


def _mask(mask: object, q: Tensor, k: Tensor) -> Tensor:
    full = (*q.shape[:3], k.shape[2])
    if not isinstance(mask, Tensor) or not (mask.dtype == torch.bool or mask.is_floating_point()):
        what = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"mask is {what}; pass booleans, true where a query may look, or a floating bias")
    fits = mask.dim() <= 4 and all(
        size in (1, most) for size, most in zip(reversed(mask.shape), reversed(full), strict=False)
    )
    if not fits:
        raise ValueError(
            f"mask has shape {list(mask.shape)}; pass one that broadcasts to {list(full)}, such as [sequences, 1, 1, keys]"
        )
    if mask.device != q.device:
        raise ValueError(f"mask is on {mask.device}, q on {q.device}; pass both from one device")
    return mask.detach()
