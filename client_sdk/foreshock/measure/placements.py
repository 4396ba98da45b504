"""Distributed tensors, and what autograd remembers of them, in; over which ranks they are spread, and which part this rank has, out.

Nothing here communicates: placements and meshes are read, never tensors.
"""

from __future__ import annotations

import importlib.util
from collections import deque
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, NamedTuple

from torch import Tensor, nn

from .layout import Layout

LOOKED_AT = 64  # nodes of the graph of autograd, nearest first; farther back nothing is looked for
_OPAQUE = ("Compiled", "Checkpoint")  # in names of nodes that hide what was computed inside


class Placed(NamedTuple):
    """How a tensor of so many dimensions lies on a mesh."""

    mesh: Any
    placements: Sequence[Any]
    dims: int


def placed(x: Tensor) -> Placed | None:
    """Of a distributed tensor; None of any other."""
    placements, mesh = getattr(x, "placements", None), getattr(x, "device_mesh", None)
    return None if placements is None or mesh is None else Placed(mesh, placements, x.dim())


def remembered(x: Tensor) -> Placed | bool:
    """Of the nearest distributed tensor that this local one was computed from; else whether there surely is none."""
    waiting: deque[Any] = deque([x.grad_fn])
    seen: set[Any] = set()
    while waiting:
        node = waiting.popleft()
        if node is None or node in seen:
            continue
        if len(seen) >= LOOKED_AT or any(word in node.name() for word in _OPAQUE):
            return False
        seen.add(node)
        spec = getattr(node, "dtensor_spec", None)  # what `to_local` keeps for its way back
        if spec is not None:
            return Placed(spec.mesh, spec.placements, len(spec.shape))
        waiting.extend(following for following, _ in node.next_functions)
    return True


def partial(where: Placed) -> bool:
    """True of a sum that is not taken yet: no rank has its values."""
    return any(one.is_partial() for one in where.placements)


def layout_of(where: Placed, rank: int, width: int) -> Layout:
    """Of a tensor whose last dimension are its features, ``width`` of them here."""
    columns: list[int] = []
    rows: list[int] = []
    for dim, one in enumerate(where.placements):
        if _splits(one):
            (columns if one.dim % where.dims == where.dims - 1 else rows).append(dim)
    alike = [dim for dim in range(len(where.placements)) if dim not in rows]
    part = min(ranks_along(where.mesh, alike), default=rank)
    if columns:
        shard, shards = position(where.mesh, columns)
        return Layout("columns", part, shard, shards, width)
    return Layout("replicated", part) if len(rows) < len(where.placements) else Layout("rows", rank)


def ranks_along(mesh: Any, dims: Iterable[int]) -> list[int]:
    """The ranks that differ from this one in these dimensions of the mesh alone, itself among them; none of a rank outside."""
    here, chosen = mesh.get_coordinate(), set(dims)
    if here is None:
        return []
    index = tuple(slice(None) if dim in chosen else place for dim, place in enumerate(here))
    return list(map(int, mesh.mesh[index].flatten()))  # they lie on the host


def position(mesh: Any, dims: Sequence[int]) -> tuple[int, int]:
    """Which of how many parts this rank has of what is split along these dimensions."""
    here = mesh.get_coordinate() or [0] * mesh.ndim
    number = 0
    for dim in dims:
        number = number * mesh.size(dim) + here[dim]
    return number, prod(mesh.size(dim) for dim in dims)


def split_along(where: Placed, dim: int | None = None) -> list[int]:
    """The dimensions of the mesh over which it is sharded; those that shard this dimension of it alone, where one is given."""
    return [
        number
        for number, one in enumerate(where.placements)
        if _splits(one) and dim in (None, one.dim % max(1, where.dims))
    ]


def _splits(placement: Any) -> bool:
    """True of shards, those of FSDP2 over tensor parallelism among them: they are interleaved, and no `Shard` to torch."""
    return not (placement.is_replicate() or placement.is_partial())


def tensor_parallel(model: nn.Module) -> tuple[int, ...] | None:
    """The ranks among which layers are split, this one's group; None where no weight is a distributed tensor.

    Weights of FSDP2 are distributed tensors too: there the dimension of the mesh must be called ``tp`` or ``tensor…``.
    """
    sharded = any(
        base.__name__ == "FSDPModule" for module in model.modules() for base in type(module).__mro__
    )
    for parameter in model.parameters():
        where = placed(parameter)
        if where is None:
            continue
        dims = split_along(where) or (list(range(where.mesh.ndim)) if not sharded else [])
        if sharded:
            names = where.mesh.mesh_dim_names or ()
            dims = [dim for dim in dims if dim < len(names) and names[dim].startswith(("tp", "tensor"))]
        ranks = ranks_along(where.mesh, dims) if dims else []
        if len(ranks) > 1:
            return tuple(ranks)
    return None


def measurable_in_graphs() -> bool:
    """True where compiled code over distributed tensors may be measured.

    In torch 2.4, which has them under another name, what is written within such a graph becomes a result of it: the next
    backward pass would run into that graph again, and fail.
    """
    return importlib.util.find_spec("torch.distributed.tensor.placement_types") is not None


def splits_heads(module: nn.Module, group: Sequence[int]) -> bool:
    """True of an attention whose projections give each rank of the group some of the heads."""
    for parameter in module.parameters():
        where = placed(parameter)
        if where is not None and parameter.dim() == 2:
            dims = split_along(where, 0)
            if dims and set(ranks_along(where.mesh, dims)) == set(group):
                return True
    return False
