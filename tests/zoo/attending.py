"""Attention in the ways people write it: fused, by another name, with a softmax of its own, with shared keys, hidden in a kernel."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)
from torch.nn.functional import scaled_dot_product_attention as fused

WIDTH, HEADS, TOKENS = 16, 4, 7
SHARES_KEYS = "enable_gqa" in str(fused.__doc__)


class Attention(nn.Module):
    """`q_proj`, `k_proj`, `v_proj`, `o_proj`; how they come together is the subclass's."""

    groups = HEADS

    def __init__(self) -> None:
        super().__init__()
        shared = WIDTH // HEADS * self.groups
        self.num_heads = HEADS
        self.q_proj = nn.Linear(WIDTH, WIDTH)
        self.k_proj, self.v_proj = nn.Linear(WIDTH, shared), nn.Linear(WIDTH, shared)
        self.o_proj = nn.Linear(WIDTH, WIDTH)

    def heads(self, x: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, [sequences, heads, tokens, width]."""
        memory = x if memory is None else memory
        q, k, v = self.q_proj(x), self.k_proj(memory), self.v_proj(memory)
        return q.unflatten(2, (HEADS, -1)).transpose(1, 2), *(
            part.unflatten(2, (self.groups, -1)).transpose(1, 2) for part in (k, v)
        )

    def joined(self, x: Tensor) -> Tensor:
        y: Tensor = self.o_proj(x.transpose(1, 2).flatten(2))
        return y

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Fused(Attention):
    """With torch's function, as most do."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        return self.joined(F.scaled_dot_product_attention(q, k, v, is_causal=True))


class Renamed(Attention):
    """Imported by name, everything by keyword, a scale."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        return self.joined(fused(query=q, key=k, value=v, scale=0.3))


class Grouped(Attention):
    """Fewer heads of the keys; where torch's function wants as many, repeated, as everybody does there."""

    groups = 2

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        if SHARES_KEYS:
            return self.joined(F.scaled_dot_product_attention(q, k, v, None, 0.0, True, enable_gqa=True))
        k, v = (part.repeat_interleave(HEADS // self.groups, 1) for part in (k, v))
        return self.joined(F.scaled_dot_product_attention(q, k, v, None, 0.0, True))


class Masked(Attention):
    """A bias by distance, through a helper."""

    def forward(self, x: Tensor) -> Tensor:
        return self.joined(_biased(*self.heads(x)))


def _biased(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    far = torch.arange(k.shape[2]) - torch.arange(q.shape[2]).unsqueeze(1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=-0.5 * far.abs().float())


class Scores(Attention):
    """The matrix of scores and its softmax, as a function."""

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        causal = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
        return (q @ k.transpose(2, 3) * q.shape[3] ** -0.5).masked_fill(~causal, -1e4)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        return self.joined(F.softmax(self.scores(q, k), dim=-1) @ v)


class ScoresByMethod(Scores):
    """As a method."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        return self.joined(self.scores(q, k).softmax(-1) @ v)


class ScoresStacked(Scores):
    """As a method, over heads stacked on the sequences."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        p = self.scores(q, k).flatten(0, 1).softmax(dim=2, dtype=torch.float32)
        return self.joined(p.unflatten(0, (-1, HEADS)) @ v)


class ScoresByModule(Scores):
    """As a module."""

    def __init__(self) -> None:
        super().__init__()
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        return self.joined(self.softmax(self.scores(q, k)) @ v)


class HiddenInTorch(Scores):
    """As a function of torch that compilers look up by its name."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        return self.joined(torch.softmax(self.scores(q, k), -1) @ v)


def flash_attn_func(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Stands for a kernel of another package: none of torch's attention functions is called."""
    w = (q @ k.transpose(2, 3)).exp()
    return w / w.sum(-1, keepdim=True) @ v


class Hidden(Attention):
    """With that kernel."""

    def forward(self, x: Tensor) -> Tensor:
        return self.joined(flash_attn_func(*self.heads(x)))


class WithWeights(nn.Module):
    """torch's own, with its default: weights are returned, and so no fused kernel is used."""

    def __init__(self) -> None:
        super().__init__()
        self.mixer = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.mixer(x, x, x)[0]
        return y


class Failing(Fused):
    """Raises when told to, before or after it has attended."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = ""

    def forward(self, x: Tensor) -> Tensor:
        if self.fails == "before":
            raise RuntimeError("out of memory")
        y = super().forward(x)
        if self.fails == "after":
            raise RuntimeError("out of memory")
        return y


class Waiting(Fused):
    """Attends when the other threads are about to do so as well."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__()
        self.barrier = barrier

    def forward(self, x: Tensor) -> Tensor:
        self.barrier.wait(20)
        return super().forward(x)


class Stack(nn.Module):
    """Residual layers of them; ``call`` may wrap each layer's call, as checkpointing does."""

    def __init__(self, make: Callable[[], nn.Module] = Fused, layers: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(make() for _ in range(layers))
        self.call: Callable[[nn.Module, Tensor], Tensor] = lambda layer, x: layer(x)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + self.call(layer, x)
        return x


def sequences(count: int = 3, tokens: int = TOKENS) -> Tensor:
    """The same inputs each time."""
    return torch.randn(count, tokens, WIDTH, generator=torch.Generator().manual_seed(0))
