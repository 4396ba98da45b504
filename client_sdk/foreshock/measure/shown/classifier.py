"""The logits of a classifier, or of a language model in pre-training, as the loop shows them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import output as statistics

from .checks import floating, integers, masked, shaped
from .policy_inputs import tokens_at_most

_SHAPES = "[rows, classes] or [sequences, tokens, classes], the classes last"


def show(
    sites: Sites, name: str, logits: Tensor, *, targets: Tensor | None = None, mask: Tensor | None = None
) -> None:
    """Measure output logits: their size, how sure and how different the predictions are, and what rounding leaves of them.

    ``targets`` are class numbers, one per row; a row whose target is negative, such as -100, does not count. Show the logits
    that the loss is computed from: what is lost in rounding depends on their dtype.
    """
    if not sites.awaits("classifier"):
        return
    with sites.clock.spending:
        given = flatten(logits, targets, mask)
        if not len(given["valid"]):
            return
        names, device = tuple(given), given["logits"].device

        def measure(tensors: Sequence[Tensor]) -> Tensor:
            shown = dict(zip(names, tensors, strict=True))
            rows, most = len(shown["valid"]), tokens_at_most(shown["logits"].shape[-1])
            if rows > most:
                shown["uniform"] = sites.uniform(rows, device)
            return statistics.measure(shown, most)

        site = sites.site(
            ("classifier", name, names, device),
            name,
            "classifier",
            lambda: statistics.series(names, name),
            measure,
            device,
        )
        sites.show(site, list(given.values()))


def flatten(logits: Tensor, targets: Tensor | None, mask: Tensor | None) -> dict[str, Tensor]:
    """``logits`` in their shape, ``valid`` [rows], and ``targets`` [rows] where given."""
    logits = floating("logits", logits, _SHAPES)
    if logits.shape[-1] < 2:
        raise ValueError(
            f"logits has shape {list(logits.shape)}, one class; of a single logit z pass both, torch.stack([-z / 2, z / 2], -1)"
        )
    covered, device = logits.shape[:-1], logits.device
    given = {"logits": logits}
    if mask is None:
        given["valid"] = torch.ones(covered.numel(), dtype=torch.bool, device=device)
    else:
        given["valid"] = masked(mask, covered, "row of the logits", device)
    if targets is not None:
        targets = integers("targets", targets, "class numbers")
        given["targets"] = shaped("targets", targets, [covered], "row of the logits", device).reshape(-1)
    return given
