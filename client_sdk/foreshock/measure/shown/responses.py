"""States of responses as the loop shows them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import distinction as statistics
from foreshock.measure.transfer import moved


def show(
    sites: Sites, name: str, states: Tensor, groups: Tensor | int, *, mask: Tensor | None = None
) -> None:
    """Measure whether responses still depend on their prompt: states [responses, width], or [responses, tokens, width], of
    which the mean over the tokens where ``mask`` is true is taken; ``groups`` as `run.observe.policy` has them."""
    if not sites.awaits("diversity"):
        return
    with sites.clock.spending:
        given, size = _checked(states, groups, mask)
        if states.numel() == 0:
            return
        names, device = tuple(given), states.device

        def measure(tensors: Sequence[Tensor]) -> Tensor:
            found = dict(zip(names, tensors, strict=True))
            x = found["states"]
            if x.dim() == 3:
                everything = torch.ones(x.shape[:2], dtype=torch.bool, device=device)
                x = statistics.pooled(x, found.get("mask", everything))
            return statistics.measure(x, found["groups"] if size is None else size)

        key = ("responses", name, names, size, states.dim(), device)
        site = sites.site(key, name, "diversity", lambda: statistics.series(name), measure, device)
        sites.show(site, list(given.values()))


def show_scores(sites: Sites, name: str, scores: Tensor, prompts: Tensor | int = 1) -> None:
    """Measure what responses tell of their prompts: ``scores`` [responses, prompts], ln p of each response under each prompt;
    ``prompts`` as `run.observe.cross_scores` has them."""
    if not sites.awaits("diversity"):
        return
    with sites.clock.spending:
        own = _own(scores, prompts)
        device = scores.device
        site = sites.site(
            ("cross scores", name, device),
            name,
            "diversity",
            lambda: statistics.scored_series(name),
            lambda tensors: statistics.information(*tensors),
            device,
        )
        sites.show(site, [scores.detach(), moved(own, device)])


def _own(scores: object, prompts: object) -> Tensor:
    """The column of each response's own prompt."""
    if (
        not isinstance(scores, Tensor)
        or not scores.is_floating_point()
        or scores.dim() != 2
        or 0 in scores.shape
    ):
        told = (
            f"has shape {list(scores.shape)} and dtype {scores.dtype}"
            if isinstance(scores, Tensor)
            else f"is a {type(scores).__name__}"
        )
        raise ValueError(
            f"scores {told}; pass ln p of each response under each prompt, [responses, prompts], summed over the response's tokens"
        )
    count, columns = scores.shape
    if isinstance(prompts, Tensor):
        if prompts.shape != (count,) or prompts.is_floating_point():
            raise ValueError(
                f"prompts has shape {list(prompts.shape)} and dtype {prompts.dtype}; pass the column of the prompt that each response"
                f" answered, [{count}], or how many responses each prompt has"
            )
        return prompts.detach().long()
    if not isinstance(prompts, int) or prompts < 1 or count != prompts * columns:
        raise ValueError(
            f"prompts={prompts!r} and scores {list(scores.shape)} do not agree; pass how many responses each of the {columns} prompts"
            " has, one prompt's after another's, or the column of each response's prompt"
        )
    return torch.arange(count) // prompts


def _checked(states: object, groups: object, mask: object) -> tuple[dict[str, Tensor], int | None]:
    if not isinstance(states, Tensor) or not states.is_floating_point() or states.dim() not in (2, 3):
        told = (
            f"has shape {list(states.shape)} and dtype {states.dtype}" if isinstance(states, Tensor) else None
        )
        raise ValueError(
            f"states {told or f'is a {type(states).__name__}'}; pass activations, [responses, width] or"
            " [responses, tokens, width]"
        )
    given = {"states": states.detach()}
    count = len(states)
    if isinstance(groups, Tensor):
        if groups.shape != states.shape[:1] or groups.is_floating_point():
            raise ValueError(
                f"groups has shape {list(groups.shape)} and dtype {groups.dtype}; pass one integer per response, [{count}],"
                " equal for those of one prompt, or how many each prompt has"
            )
        given["groups"] = moved(groups.detach().long(), states.device)
    elif not isinstance(groups, int) or groups < 1 or count % groups:
        raise ValueError(
            f"groups={groups!r} does not divide the {count} responses; pass how many each prompt has, or the prompt of each"
        )
    if mask is not None:
        if not isinstance(mask, Tensor) or states.dim() != 3 or mask.shape != states.shape[:2]:
            found = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(
                f"mask has shape {found}; pass one entry per token of states [responses, tokens, width], or leave it out"
            )
        given["mask"] = moved(mask.detach() > 0, states.device)
    return given, groups if isinstance(groups, int) else None
