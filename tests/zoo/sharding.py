"""Distributed tensors and FSDP2 as each torch has them: under either of their names, and on the CPU also where FSDP2 wants CUDA.

There its Python runs as it is, over streams and a collective that stand in.
"""

from __future__ import annotations

import contextlib
import importlib.util
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

try:
    from torch.distributed.tensor import DTensor, Replicate, Shard, placement_types
    from torch.distributed.tensor.debug import CommDebugMode
except ImportError:  # before torch 2.5
    from torch.distributed._tensor import DTensor, Replicate, Shard, placement_types  # type: ignore[no-redef]
    from torch.distributed._tensor.debug import CommDebugMode  # type: ignore[no-redef]

__all__ = ["CommDebugMode", "DTensor", "Replicate", "Shard", "fully_shard", "interleaved"]


def interleaved(dim: int, parts: int) -> Any:
    """The placement of what FSDP2 shards along a dimension that is split into so many parts already."""
    strided = getattr(placement_types, "_StridedShard", None)
    return (
        Shard(dim) if strided is None else strided(dim, split_factor=parts)
    )  # before torch 2.5 like any other


def fully_shard() -> Any:
    """torch's function, ready for a mesh of the CPU in this process from now on."""
    if importlib.util.find_spec("torch.distributed.fsdp._fully_shard") is not None:
        from torch.distributed.fsdp import fully_shard as public

        return public
    from torch.distributed._composable.fsdp import fully_shard as early

    torch.cuda.Stream = torch.cuda.Event = Idle
    torch.cuda.current_stream = Idle
    torch.cuda.stream = lambda stream: contextlib.nullcontext()
    torch.split_with_sizes_copy = split_with_sizes_copy
    dist.reduce_scatter_tensor = reduce_scatter_tensor
    return early


class Idle:
    """A stream or an event where everything is done when it is asked for."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def wait_stream(self, stream: Idle) -> None: ...

    def wait_event(self, event: Idle) -> None: ...

    def record_event(self) -> Idle:
        return self

    def record(self) -> None: ...

    def synchronize(self) -> None: ...


def split_with_sizes_copy(x: Tensor, sizes: list[int], dim: int, out: list[Tensor]) -> None:
    """As CUDA's writes the gathered weights again: for autograd they are what they were."""
    with contextlib.ExitStack() as kept:
        for part in out:
            kept.enter_context(torch.autograd._unsafe_preserve_version_counter(part))
        for part, given in zip(out, x.split(sizes, dim), strict=True):
            part.copy_(given)


def reduce_scatter_tensor(output: Tensor, input: Tensor, op: Any, group: Any = None, **_: Any) -> None:  # noqa: A002 (torch's own name)
    """Of what Gloo can do."""
    ranks = group.size()
    whole = input.clone()
    dist.all_reduce(whole, group=group)
    if op == dist.ReduceOp.AVG:
        whole /= ranks
    output.copy_(whole.chunk(ranks)[dist.get_rank(group)])
