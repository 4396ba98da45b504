"""One rank of two on the CPU: trains a model under DDP or FSDP2, plain and then watched, and writes both outcomes as JSON.

python -m tests.zoo.ranks KIND RANK STORE OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tests.zoo import feedforward
from torch import Tensor, nn

from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments


def whole(tensor: Tensor) -> Tensor:
    """The tensor of which this may be a shard."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def wrapped(kind: str, model: nn.Module) -> nn.Module:
    """The model as this kind of training holds it."""
    if kind == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    from torch.distributed.fsdp import fully_shard

    mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
    for layer in (model[0], model[3], model[6], model):
        fully_shard(layer, mesh=mesh)
    return model


def train(kind: str, rank: int, watch: bool) -> dict[str, Any]:
    """Two steps: the readings of the last, the norm of its whole gradient, and the first weights afterwards."""
    torch.manual_seed(0)
    model: nn.Module = feedforward.mlp(dropout=0.0)
    rows: list[StepRow] = []
    every = {"activations": 1, "optimiser": 1}
    instruments = Instruments(every=every, rank=rank, world_size=2, on_row=rows.append)
    if watch:
        instruments.watch(model)  # before wrapping: fully_shard puts other parameters in place
    model = wrapped(kind, model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    data = torch.randn(32, 10, generator=torch.Generator().manual_seed(rank))
    norm = 0.0
    for step in range(2):
        optimizer.zero_grad()
        model(data).square().mean().backward()
        norm = torch.cat([whole(p.grad).flatten() for p in model.parameters()]).norm().item()
        optimizer.step()
        rows.clear()
        instruments.step(step, 0.0)
    instruments.close(0)
    readings = {
        spec.key: value
        for row in rows
        for spec, value in zip(row.frame.series, row.completed().tolist(), strict=True)
    }
    weight = whole(next(iter(model.parameters())).detach())
    return {"readings": readings, "gradient": norm, "weight": weight.flatten().tolist()}


def main(kind: str, rank: int, store: str, out: str) -> None:
    """Join the other rank, train, write."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    outcomes = [train(kind, rank, watch) for watch in (False, True)]
    Path(out).write_text(json.dumps(outcomes), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
