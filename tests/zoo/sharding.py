"""FSDP2 on the CPU, also where torch's own wants CUDA: there its Python runs as it is, over streams and a collective that stand in."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


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
