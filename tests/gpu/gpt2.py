"""A GPT-2 of any size in plain torch, and the seconds of its training steps, watched and bare by turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from foreshock import Run
from foreshock.testing import recording


@dataclass(frozen=True)
class Size:
    """GPT-2 small by default, with its vocabulary rounded up as its trainers do."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    length: int = 1024
    vocabulary: int = 50_304
    batch: int = 16


class Attention(nn.Module):
    """Causal self-attention, fused."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.c_attn, self.c_proj = nn.Linear(size.width, 3 * size.width), nn.Linear(size.width, size.width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.c_attn(x).chunk(3, -1)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        projected: Tensor = self.c_proj(mixed.transpose(1, 2).flatten(2))
        return projected


class Block(nn.Module):
    """Pre-norm attention and a GELU MLP."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.ln_1, self.ln_2, self.attn = nn.LayerNorm(size.width), nn.LayerNorm(size.width), Attention(size)
        self.mlp = nn.Sequential(
            nn.Linear(size.width, 4 * size.width), nn.GELU("tanh"), nn.Linear(4 * size.width, size.width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        mixed: Tensor = x + self.mlp(self.ln_2(x))
        return mixed


class GPT2(nn.Module):
    """Tokens [B, T] -> logits [B, T, V]; input and output embedding are one."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(size.vocabulary, size.width), nn.Embedding(size.length, size.width)
        self.h = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.ln_f = nn.LayerNorm(size.width)
        self.lm_head = nn.Linear(size.width, size.vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.h:
            x = block(x)
        logits: Tensor = self.lm_head(self.ln_f(x))
        return logits


def trainer(size: Size, device: str, run: Run | None, *, policy: bool = False) -> Callable[[], None]:
    """One step of training in bfloat16, compiled; watched where there is a run, its logits shown too where ``policy`` says so."""
    torch.manual_seed(0)
    model = GPT2(size).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=device == "cuda")
    if run is not None:
        run.watch(model, optimizer=optimizer, quiet=True)  # before the first compiled call
    compiled = torch.compile(model)
    tokens = torch.randint(size.vocabulary, (size.batch, size.length + 1), device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            logits = compiled(tokens[:, :-1])
            loss = functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        if run is not None:
            if policy:
                run.observe.policy(logits, actions=tokens[:, 1:])
            run.log(loss=loss)
            run.step()

    return step


@dataclass(frozen=True)
class Turns:
    """Seconds of blocks of steps, block i of one beside block i of the other, and what the run says of itself."""

    bare: list[float]
    watched: list[float]
    percent: float  # by our own account, since the first step
    skipped: int
    level: int

    @property
    def ratios(self) -> list[float]:
        """Of each pair of blocks, ascending."""
        return sorted(ours / theirs for ours, theirs in zip(self.watched, self.bare, strict=True))


def by_turns(size: Size, device: str, *, blocks: int, steps: int, warm: int, policy: bool = False) -> Turns:
    """A bare and a watched model, trained in one process by turns; each block ends when the device has ended."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def block(step: Callable[[], None], count: int) -> float:
        wait()
        began = time.perf_counter()
        for _ in range(count):
            step()
        wait()
        return time.perf_counter() - began

    with recording(budget=None) as recorded:
        bare, watched = trainer(size, device, None), trainer(size, device, recorded.run, policy=policy)
        for step in (bare, watched):
            block(step, warm)
        pairs = []
        for number in range(blocks):
            order = (bare, watched) if number % 2 else (watched, bare)
            seconds = {step: block(step, steps) for step in order}
            pairs.append((seconds[bare], seconds[watched]))
        assert recorded.run.session is not None
        instruments = recorded.run.session.instruments()
        return Turns(
            [theirs for theirs, _ in pairs],
            [ours for _, ours in pairs],
            recorded.run.cost["percent"],
            instruments.skipped,
            instruments.level,
        )
