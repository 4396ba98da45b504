"""A causal transformer in one page: tokens in, next-token logits out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)

Memory = dict[nn.Module, tuple[Tensor, Tensor]]


class Attention(nn.Module):
    """Causal self-attention over several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_NTD: Tensor, memory: Memory | None = None) -> Tensor:
        n, t, d = x_NTD.shape
        q, k, v = self.qkv(x_NTD).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        if memory is not None:
            if self in memory:
                past_k, past_v = memory[self]
                k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
            memory[self] = (k, v)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
        y_NTD: Tensor = self.out(mixed.transpose(1, 2).reshape(n, t, d))
        return y_NTD


class Block(nn.Module):
    """Attention, then a perceptron, each reading a normed copy of the stream and adding to it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x_NTD: Tensor, memory: Memory | None = None) -> Tensor:
        x_NTD = x_NTD + self.attention(self.norm1(x_NTD), memory)
        y_NTD: Tensor = x_NTD + self.mlp(self.norm2(x_NTD))
        return y_NTD


class Transformer(nn.Module):
    """Logits of the next token at every position."""

    def __init__(
        self, *, vocabulary: int, width: int = 64, heads: int = 4, layers: int = 2, context: int = 32
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens_NT: Tensor, memory: Memory | None = None, start: int = 0) -> Tensor:
        positions = torch.arange(start, start + tokens_NT.shape[1], device=tokens_NT.device)
        x_NTD = self.token(tokens_NT) + self.position(positions)
        for block in self.blocks:
            x_NTD = block(x_NTD, memory)
        logits_NTV: Tensor = self.head(self.norm(x_NTD))
        return logits_NTV


def build(seed: int, *, vocabulary: int, width: int = 64) -> Transformer:
    """A fresh transformer; the same seed gives the same weights, and the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Transformer(vocabulary=vocabulary, width=width)
        for parameter in model.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.1)
    return model
