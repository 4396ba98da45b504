"""Parameters in; among how many ranks they are spread, and how many ranks hold the same of each, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch.distributed as dist
from torch import nn

from foreshock.guard import say_once
from foreshock.measure.layout import in_part
from foreshock.measure.placements import Placed, placed, position, split_along
from foreshock.series import SeriesSpec


@dataclass(frozen=True)
class Sharing:
    """What one optimizer steps. ``copies`` says of each parameter how many of the ``ranks`` hold what this one holds.

    ``held`` is "alike" where every rank holds all of it, "parts" where ranks hold parts, "unknown" where nobody says.
    """

    held: Literal["alike", "parts", "unknown"]
    ranks: int = 1
    part: int = 0  # this rank's number among them
    copies: tuple[int, ...] = ()  # nothing: one of each

    def described(self, specs: Sequence[SeriesSpec]) -> list[SeriesSpec]:
        """The series of a row about these parameters, with how ranks become one."""
        if self.held == "unknown":
            return [spec.replicated(merge=None) for spec in specs]
        if self.held == "alike":
            return [spec.replicated() for spec in specs]
        if self.ranks < _world():  # the other ranks hold the same once more
            return [in_part(spec, self.part) for spec in specs]
        return list(specs)


def sharing(parameters: Sequence[nn.Parameter], group: Sequence[int] | None = None, rank: int = 0) -> Sharing:
    """Of parameters that are stepped together. ``group``: the ranks among which layers are split, where that is known.

    Distributed tensors say it themselves; parameters of Megatron by `tensor_model_parallel`; shards of FSDP1 lie on all ranks.
    """
    if any(getattr(p, "_fsdp_flattened", False) for p in parameters):
        return Sharing("parts", _world())
    found = [placed(p) for p in parameters]
    spread = [where for where in found if where is not None and split_along(where)]
    if spread:
        widest = max(spread, key=lambda where: int(where.mesh.size()))
        part, ranks = position(widest.mesh, range(widest.mesh.ndim))
        return Sharing("parts", ranks, part, tuple(ranks // _parts(where) for where in found))
    if group is None or any(where is not None for where in found):
        return Sharing("alike")
    told = [getattr(p, "tensor_model_parallel", None) for p in parameters]
    if any(told):
        ranks = len(group)
        return Sharing("parts", ranks, group.index(rank), tuple(1 if one else ranks for one in told))
    say_once(
        "weights of a group",
        "weights of a model that is split over ranks are no DTensors and do not say tensor_model_parallel: what is read of"
        " them is each rank's own, and is not merged",
    )
    return Sharing("unknown")


def _parts(where: Placed | None) -> int:
    return 1 if where is None else position(where.mesh, split_along(where))[1]


def _world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
