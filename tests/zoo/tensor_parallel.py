"""One rank trains a small transformer whose layers are split over ranks, and reports to a server; `alone` trains all of it.

python -m tests.zoo.tensor_parallel KIND RANK WORLD STORE URL SPOOL     (KIND: alone · tp · sequence · fsdp2-tp)
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import torch
import torch.distributed as dist
from tests.zoo.sharding import Replicate, Shard, fully_shard
from torch import Tensor, nn
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.nn import functional

import foreshock

STEPS, SEQUENCES, TOKENS, WIDTH, HEADS, VOCABULARY = 12, 8, 12, 16, 4, 40
DEAD = 5  # units that never fire, all in the last shard


class Attention(nn.Module):
    """Causal; as many heads as there are columns for."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.o_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            projected(x).unflatten(-1, (-1, WIDTH // HEADS)).transpose(1, 2)
            for projected in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        y: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return y


class Mlp(nn.Module):
    """With a rectifier, so that some activations are exactly zero."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.ReLU(), nn.Linear(4 * WIDTH, WIDTH)
        with torch.no_grad():
            self.fc1.bias[-DEAD:] = -100.0

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(self.act(self.fc1(x)))
        return y


class Block(nn.Module):
    """Pre-norm, residual."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(WIDTH), Attention()
        self.norm2, self.mlp = nn.LayerNorm(WIDTH), Mlp()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class Model(nn.Module):
    """Token ids [N, T] -> logits [N, T, V]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def split(model: Model, mesh: Any, *, sequence: bool) -> None:
    """Layers over the ranks of the mesh; what lies between them replicated, or split along the sequence."""
    rows = Shard(1) if sequence else Replicate()
    plan: dict[str, Any] = {
        **{f"attn.{name}": ColwiseParallel() for name in ("q_proj", "k_proj", "v_proj")},
        "attn.o_proj": RowwiseParallel(output_layouts=rows),
        "mlp.fc1": ColwiseParallel(),
        "mlp.fc2": RowwiseParallel(output_layouts=rows),
    }
    if sequence:
        gathered = {"input_layouts": (Shard(1),), "desired_input_layouts": (Replicate(),)}
        plan |= {"norm1": SequenceParallel(), "norm2": SequenceParallel()}
        plan |= {"attn": PrepareModuleInput(**gathered), "mlp": PrepareModuleInput(**gathered)}
        ends = {
            "embed": RowwiseParallel(input_layouts=Replicate(), output_layouts=Shard(1)),
            "norm": SequenceParallel(),
            "head": ColwiseParallel(input_layouts=Shard(1), output_layouts=Replicate()),
        }
        parallelize_module(model, mesh, ends)
    for block in model.blocks:
        parallelize_module(block, mesh, plan)


def batch(step: int) -> Tensor:
    """The whole batch of a step, the same in every process."""
    g = torch.Generator().manual_seed(1000 + step)
    return torch.randint(0, VOCABULARY, (SEQUENCES, TOKENS + 1), generator=g)


def main(kind: str, rank: int, world: int, store: str, url: str, spool: str) -> None:
    """Train STEPS steps."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world))
    torch.manual_seed(0)
    model, share = Model(), slice(None)
    every = {"activations": 1, "attention": 1, "units": 1, "optimiser": 1, "moments": 1, "weights": 1}
    run = foreshock.init(project="layouts", run=kind, url=url, dir=spool, every=every, budget=0.0)
    mesh = None
    if kind != "alone":
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
        shape, names = ((world // 2, 2), ("dp", "tp")) if kind == "fsdp2-tp" else ((world,), ("tp",))
        mesh = dist.device_mesh.init_device_mesh("cpu", shape, mesh_dim_names=names)
        split(model, mesh["tp"], sequence=kind == "sequence")
    run.watch(
        model, include=["blocks.*", "blocks.*.mlp.*", "blocks.*.attn", "blocks.*.norm1", "norm"], quiet=True
    )
    if kind == "fsdp2-tp" and mesh is not None:
        shard = fully_shard()
        for part in (*model.blocks, model):
            shard(part, mesh=mesh["dp"])
        each = SEQUENCES // mesh["dp"].size()
        share = slice(mesh["dp"].get_local_rank() * each, (mesh["dp"].get_local_rank() + 1) * each)
    optimizer = torch.optim.SGD(model.parameters(), 0.3)
    for step in range(STEPS):
        tokens = batch(step)[share]
        optimizer.zero_grad()
        logits = model(tokens[:, :-1])
        functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()
        run.observe.classifier("next token", logits.flatten(0, 1), targets=tokens[:, 1:].flatten())
        run.step()
        time.sleep(0.01)
    run.finish()
    if kind != "alone":
        dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5], sys.argv[6])
