"""One rank of several trains its share of each batch and reports to a server; rank 0 of 1 trains on the whole batch.

python -m tests.zoo.parallel KIND RANK WORLD STORE URL SPOOL FAULTY     (KIND: ddp · fsdp2 · alone)
"""

from __future__ import annotations

import os
import sys
import time

import torch
import torch.distributed as dist
from tests.zoo import sharding
from torch import Tensor, nn

import foreshock

STEPS, SEQUENCES, TOKENS, WIDTH, VOCABULARY = 24, 12, 16, 24, 40


class Policy(nn.Module):
    """Token ids [N, T] -> logits [N, T, V]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH)) for _ in range(2)
        )
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x = x + layer(x)
        logits: Tensor = self.head(x)
        return logits


def batch(step: int) -> dict[str, Tensor]:
    """The whole batch of a step, the same in every process."""
    g = torch.Generator().manual_seed(1000 + step)
    return {
        "tokens": torch.randint(0, VOCABULARY, (SEQUENCES, TOKENS), generator=g),
        "actions": torch.randint(0, VOCABULARY, (SEQUENCES, TOKENS), generator=g),
        "mask": torch.rand(SEQUENCES, TOKENS, generator=g) > 0.3,
        "advantages": torch.randn(SEQUENCES, generator=g),
        "old_logprobs": -3.7 + 0.1 * torch.randn(SEQUENCES, TOKENS, generator=g),
        "rewards": torch.randint(0, 2, (SEQUENCES,), generator=g).float(),
    }


def wrapped(kind: str, model: Policy, world: int) -> nn.Module:
    """The model as this kind of training holds it."""
    if kind == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    if kind == "fsdp2":
        fully_shard = sharding.fully_shard()
        mesh = dist.device_mesh.init_device_mesh("cpu", (world,))
        for part in (*model.layers, model.head, model):
            fully_shard(part, mesh=mesh)
    return model


def main(kind: str, rank: int, world: int, store: str, url: str, spool: str, faulty: int) -> None:
    """Train STEPS steps; the faulty rank reads other data from step 14 on."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world))
    if kind != "alone":
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    torch.manual_seed(0)
    model = Policy()
    every = {"activations": 1, "optimiser": 1}
    run = foreshock.init(project="ranks", run=kind, url=url, dir=spool, every=every, budget=0.0)
    run.watch(model, quiet=True)
    trained = wrapped(kind, model, world)
    optimizer = torch.optim.SGD(trained.parameters(), 0.5)
    share = slice(rank * SEQUENCES // world, (rank + 1) * SEQUENCES // world)
    for step in range(STEPS):
        own = {name: value[share] for name, value in batch(step).items()}
        if rank == faulty and step >= 14:
            own = {
                **own,
                "tokens": torch.zeros_like(own["tokens"]),
                "rewards": torch.zeros_like(own["rewards"]),
            }
            own["advantages"] = 30 * own["advantages"]
        optimizer.zero_grad()
        logits = trained(own["tokens"])
        logp = logits.log_softmax(-1).gather(-1, own["actions"].unsqueeze(-1)).squeeze(-1)
        loss = -(logp * own["advantages"].unsqueeze(1)).mean() * 0.01
        loss.backward()
        optimizer.step()
        run.observe.policy(
            logits,
            mask=own["mask"],
            actions=own["actions"],
            advantages=own["advantages"],
            old_logprobs=own["old_logprobs"],
            rewards=own["rewards"],
            groups=2,
        )
        run.step()
        time.sleep(0.01)
    run.finish()
    if kind != "alone":
        dist.destroy_process_group()


if __name__ == "__main__":
    main(
        sys.argv[1],
        int(sys.argv[2]),
        int(sys.argv[3]),
        sys.argv[4],
        sys.argv[5],
        sys.argv[6],
        int(sys.argv[7]),
    )
