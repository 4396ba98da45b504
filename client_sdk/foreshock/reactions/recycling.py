"""Hidden layers and a batch -> units that hardly move get new incoming weights and no outgoing ones (ReDo).

Shape suffixes: W units of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Pair = tuple[nn.Module, nn.Module]  # what feeds a layer's units, and what reads them


def pairs_of(model: nn.Module) -> list[Pair]:
    """Linear layers, or convolutions, that follow each other among the children of one module and fit: units lie between them."""
    found: list[Pair] = []
    for parent in model.modules():
        weighted = [child for child in parent.children() if _is_weighted(child)]
        for before, after in pairwise(weighted):
            same = isinstance(before, nn.Linear) == isinstance(after, nn.Linear)
            if same and before.weight.shape[0] == after.weight.shape[1] and _groups(after) == 1:
                found.append((before, after))
    return found


def recycle(
    pairs: Sequence[Pair],
    optimizer: torch.optim.Optimizer,
    forward: Callable[[], object],
    tau: float,
    seed: int,
) -> int:
    """Renew the units whose mean |h| on `forward()`'s batch is at most tau of their layer's; how many. All ranks call it alike.

    Incoming weights as a fresh layer has them, bias 0, outgoing weights 0, so that the layer's output hardly changes; the
    optimizer forgets what it knew of them. Batches of several ranks count as one.
    """
    for pair in pairs:
        for module in pair:
            _check(module)
    drawn = torch.Generator().manual_seed(seed)  # the same on every rank, and nobody else's
    with torch.no_grad():
        dormant = [_dormant(level_W, tau) for level_W in _activity(pairs, forward)]
        for (before, after), dormant_W in zip(pairs, dormant, strict=True):
            _renew(before, dormant_W, optimizer, drawn)
            _silence(after, dormant_W, optimizer)
    return sum(int(dormant_W.sum()) for dormant_W in dormant)  # sync: a remedy, not a step


def _activity(pairs: Sequence[Pair], forward: Callable[[], object]) -> Iterator[Tensor]:
    """Mean |h| of the units of each pair, read where the second of them takes them in, [W]."""
    totals: list[Tensor | None] = [None] * len(pairs)

    def watch(index: int, after: nn.Module) -> Any:
        def hook(_module: nn.Module, given: tuple[Any, ...]) -> None:
            h = given[0].detach().float().abs()
            h = (
                h.flatten(0, -2).sum(0)
                if isinstance(after, nn.Linear)
                else h.transpose(0, 1).flatten(1).sum(1)
            )
            before = totals[index]
            totals[index] = h if before is None else before + h

        return after.register_forward_pre_hook(hook)

    handles = [watch(index, after) for index, (_, after) in enumerate(pairs)]
    try:
        forward()
    finally:
        for handle in handles:
            handle.remove()
    if any(total is None for total in totals):
        raise RuntimeError(
            "forward() did not reach every layer; name the pairs that it does reach with pairs="
        )
    for total in totals:
        if total is not None:
            yield _over_ranks(total)


def _over_ranks(total_W: Tensor) -> Tensor:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        distributed.all_reduce(total_W)
    return total_W


def _dormant(total_W: Tensor, tau: float) -> Tensor:
    """Which of them are: none where nothing is finite, all of a layer of zeros."""
    level = total_W.mean()
    return (total_W <= tau * level) & torch.isfinite(level)


def _renew(
    before: nn.Module, dormant_W: Tensor, optimizer: torch.optim.Optimizer, drawn: torch.Generator
) -> None:
    weight: nn.Parameter = before.weight  # type: ignore[assignment]
    bound = weight[0].numel() ** -0.5  # what nn.Linear and convolutions begin with
    fresh = (torch.rand(weight.shape, generator=drawn) * 2 - 1).mul_(bound).to(weight)
    _put(weight, dormant_W.view(-1, *[1] * (weight.dim() - 1)), fresh, optimizer)
    bias = before.bias
    if isinstance(bias, nn.Parameter):
        _put(bias, dormant_W, torch.zeros_like(bias), optimizer)


def _silence(after: nn.Module, dormant_W: Tensor, optimizer: torch.optim.Optimizer) -> None:
    weight: nn.Parameter = after.weight  # type: ignore[assignment]
    _put(weight, dormant_W.view(1, -1, *[1] * (weight.dim() - 2)), torch.zeros_like(weight), optimizer)


def _put(parameter: nn.Parameter, where: Tensor, fresh: Tensor, optimizer: torch.optim.Optimizer) -> None:
    parameter.copy_(torch.where(where, fresh, parameter))
    for kept in optimizer.state.get(parameter, {}).values():
        if isinstance(kept, Tensor) and kept.shape == parameter.shape:
            kept.masked_fill_(where, 0.0)


def _is_weighted(module: nn.Module) -> TypeIs[nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d]:
    return isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))


def _groups(module: nn.Module) -> int:
    return int(getattr(module, "groups", 1))


def _check(module: nn.Module) -> None:
    if not _is_weighted(module):
        raise TypeError(
            f"{type(module).__name__} has no units to recycle; name linear layers and convolutions"
        )
    if hasattr(module.weight, "to_local") or module.weight.dim() < 2:
        raise TypeError("weights that are sharded over ranks are not recycled")
