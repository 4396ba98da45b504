"""Generated sequences as the loop shows them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import sequences as statistics
from foreshock.measure.transfer import moved


def show(
    sites: Sites,
    tokens: Tensor,
    *,
    mask: Tensor | None = None,
    finished: Tensor | None = None,
    invalid: Tensor | None = None,
    name: str = "sequences",
) -> None:
    """Measure token ids [sequences, tokens]: variety, repetition, length; ``mask`` true where the model wrote."""
    if not sites.awaits("diversity"):
        return
    with sites.clock.spending:
        given = _checked(tokens, mask, finished, invalid)
        if tokens.numel() == 0:
            return
        device = tokens.device
        levels = [percent / 100 for percent in statistics.PERCENTILES]
        given["levels"] = sites.constant("length levels", levels, device)
        names = tuple(given)

        def measure(tensors: Sequence[Tensor]) -> Tensor:
            return statistics.measure(dict(zip(names, tensors, strict=True)))

        key = ("sequences", name, names, device)
        site = sites.site(key, name, "diversity", lambda: statistics.series(name, names), measure, device)
        sites.show(site, list(given.values()))


def _checked(
    tokens: object, mask: Tensor | None, finished: Tensor | None, invalid: Tensor | None
) -> dict[str, Tensor]:
    if not isinstance(tokens, Tensor) or tokens.is_floating_point() or tokens.dim() != 2:
        told = (
            f"has shape {list(tokens.shape)} and dtype {tokens.dtype}" if isinstance(tokens, Tensor) else None
        )
        raise ValueError(
            f"tokens {told or f'is a {type(tokens).__name__}'}; pass the ids of what was generated, [sequences, tokens]"
        )
    given = {"tokens": tokens.detach()}
    if mask is None:
        given["valid"] = torch.ones(tokens.shape, dtype=torch.bool, device=tokens.device)
    for name, value, shape in (
        ("valid", mask, tokens.shape),
        ("finished", finished, tokens.shape[:1]),
        ("invalid", invalid, tokens.shape[:1]),
    ):
        if value is None:
            continue
        shown = "mask" if name == "valid" else name
        if not isinstance(value, Tensor) or value.shape != shape:
            found = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"{shown} has shape {found}; pass one entry per {'token' if name == 'valid' else 'sequence'}, {list(shape)}"
            )
        given[name] = moved(value.detach() > 0, tokens.device)
    return given
