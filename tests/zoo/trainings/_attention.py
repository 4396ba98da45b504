"""A layer of self-attention as a user would write it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Tokens [N, T, width] -> as many, by `heads` that see all of them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1)
        )
        y = functional.scaled_dot_product_attention(q, k, v)
        joined: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return joined


def turned(count: int, length: int, symbols: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of symbols [count, length], and the same read backwards: what can only be told by looking at another place."""
    x = torch.randint(symbols, (count, length), generator=generator)
    return x, x.flip(1)
