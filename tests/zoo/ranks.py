"""One rank of two on the CPU: trains a model under DDP, FSDP, FSDP2 or with its layers split over ranks, plain and then watched,
and writes both outcomes as JSON, of each kind in a file of its own.

python -m tests.zoo.ranks RANK FOLDER KIND…
KIND: ddp · fsdp · fsdp2 · fsdp2 watched late · fsdp2 compiled · tp · tp compiled · tp sequence · tp sequence compiled
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tests.zoo import sharding
from tests.zoo.sharding import CommDebugMode, DTensor, Replicate, Shard
from torch import Tensor, nn

from foreshock.config import EVERY
from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments


class Block(nn.Module):
    """Pre-norm, residual."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.mlp(self.norm(x))
        return y


class Net(nn.Module):
    """Buffers that DDP broadcasts (`bn`), blocks that FSDP2 shards, and the input of `norm` as plain torch sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(10, 16)
        self.bn = nn.BatchNorm1d(16)
        self.layers = nn.ModuleList([Block(), Block()])
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.first(x))
        for layer in self.layers:
            x = layer(x)
        self.stream = x.detach().square().mean().sqrt().item()
        y: Tensor = self.head(self.norm(x))
        return y


def whole(tensor: Tensor) -> Tensor:
    """The tensor of which this may be a shard."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def wrapped(kind: str, model: Net) -> nn.Module:
    """The model as this kind of training holds it."""
    if kind == "ddp":
        return nn.parallel.DistributedDataParallel(model, broadcast_buffers=True)
    if kind == "fsdp":
        from torch.distributed.fsdp import FullyShardedDataParallel
        from torch.distributed.fsdp.wrap import ModuleWrapPolicy

        policy = ModuleWrapPolicy({Block})
        return FullyShardedDataParallel(
            model, use_orig_params=True, auto_wrap_policy=policy, device_id=torch.device("cpu")
        )
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
    if kind.startswith("tp"):
        return split(kind, model, mesh)
    fully_shard = sharding.fully_shard()
    for index, layer in enumerate(model.layers):
        if kind == "fsdp2 compiled":
            model.layers[index] = layer = torch.compile(layer, backend="aot_eager", fullgraph=True)
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh) or model


def split(kind: str, model: Net, mesh: Any) -> nn.Module:
    """The two matrices of each block over the ranks; of a sequence also the rows between them."""
    from torch.distributed.tensor import parallel as tp

    plan: dict[str, Any] = {"mlp.0": tp.ColwiseParallel(), "mlp.2": tp.RowwiseParallel()}
    if "sequence" in kind:
        begins = {"input_layouts": (Replicate(),), "desired_input_layouts": (Shard(0),)}
        gathers = {"input_layouts": (Shard(0),), "desired_input_layouts": (Replicate(),)}
        plan["mlp.2"] = tp.RowwiseParallel(output_layouts=Shard(0))
        plan |= {"norm": tp.SequenceParallel(sequence_dim=0), "mlp": tp.PrepareModuleInput(**gathers)}
        ends = {
            "layers.0": tp.PrepareModuleInput(**begins, use_local_output=True),
            "norm": tp.SequenceParallel(sequence_dim=0, use_local_output=True),
            "head": tp.ColwiseParallel(input_layouts=Shard(0), output_layouts=Replicate()),
        }
        tp.parallelize_module(model, mesh, ends)
    for index, layer in enumerate(model.layers):
        tp.parallelize_module(layer, mesh, plan)
        if "compiled" in kind:
            model.layers[index] = torch.compile(layer, backend="aot_eager", fullgraph=True)
    return model


def communicating(kind: str) -> Any:
    """Counts the collectives of distributed tensors within, in eager code."""
    if kind not in ("tp", "tp sequence"):
        return contextlib.nullcontext()
    return CommDebugMode()


def gathering(counted: list[int]) -> Callable[[], None]:
    """Count in ``counted`` how often a sharded tensor is gathered, until the function that is returned is called."""
    real = DTensor.full_tensor

    def full_tensor(tensor: Any, **more: Any) -> Tensor:
        counted.append(1)
        y: Tensor = real(tensor, **more)
        return y

    DTensor.full_tensor = full_tensor
    return lambda: setattr(DTensor, "full_tensor", real)


def train(kind: str, rank: int, watch: bool) -> dict[str, Any]:
    """Three steps: the readings of the last, the norm of its whole gradient, the state afterwards."""
    torch.manual_seed(0)
    net = Net()
    rows: list[StepRow] = []
    instruments = Instruments(every=dict.fromkeys(EVERY, 1), rank=rank, world_size=2, on_row=rows.append)
    late = kind.endswith("late") or kind.startswith("tp")  # layers are split before they are watched
    if watch and not late:
        instruments.watch(net, families=["all"])
    names = [name for name, _ in net.named_buffers()]
    model = wrapped(kind, net)
    if watch and late:
        instruments.watch(model, families=["all"])
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    rows_of = 0 if kind.startswith("tp") else rank
    data = torch.randn(32, 10, generator=torch.Generator().manual_seed(rows_of))
    norm, gathered, collectives = 0.0, [], 0
    for step in range(3):
        optimizer.zero_grad()
        restore = gathering(gathered)
        with communicating(kind) as communicated:
            model(data).square().mean().backward()
        collectives += communicated.get_total_counts() if communicated is not None else 0
        restore()
        shards = [whole(p.grad).flatten() for p in model.parameters() if p.grad is not None]
        norm = torch.cat(shards).norm().item()  # under FSDP of this rank's share
        restore = gathering(gathered)
        with communicating(kind) as communicated:
            optimizer.step()
            rows.clear()
            instruments.step(step, 0.0)
        collectives += communicated.get_total_counts() if communicated is not None else 0
        restore()
    instruments.close(0)
    readings = {
        spec.key: value
        for row in rows
        for spec, value in zip(row.frame.series, row.completed().tolist(), strict=True)
    }
    return {
        "readings": readings,
        "merges": {spec.key: spec.merge for row in rows for spec in row.frame.series},
        "layouts": {spec.key: dict(spec.layout) for row in rows for spec in row.frame.series},
        "gradient": norm,
        "gradients": [whole(p.grad).flatten().tolist() for p in model.parameters() if p.grad is not None],
        "weights": [whole(p.detach()).flatten().tolist() for p in model.parameters()],
        "buffers": {name: whole(b).flatten().tolist() for name, b in net.named_buffers()},
        "names": names,
        "gathered": len(gathered),
        "collectives": collectives,
        "stream": net.stream,
    }


def main(rank: int, folder: Path, kinds: Sequence[str]) -> None:
    """Join the other rank, train, write."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    for kind in kinds:
        outcomes = []
        for watch in (False, True):
            torch._dynamo.reset()
            outcomes.append(train(kind, rank, watch))
        (folder / f"{kind} {rank}.json").write_text(json.dumps(outcomes), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
