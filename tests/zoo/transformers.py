"""Three transformers: one named like nanoGPT, one like the checkpoints of today's language models, one of torch's own parts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)
from torch.utils.checkpoint import checkpoint

VOCABULARY, WIDTH, HEADS, CONTEXT = 32, 24, 2, 16


class CausalSelfAttention(nn.Module):
    """Attention with its dropout."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.c_attn = nn.Linear(WIDTH, 3 * WIDTH)
        self.c_proj = nn.Linear(WIDTH, WIDTH)
        self.resid_dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = (part.view(n, t, HEADS, -1).transpose(1, 2) for part in self.c_attn(x).split(WIDTH, dim=2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y: Tensor = self.resid_dropout(self.c_proj(mixed.transpose(1, 2).reshape(n, t, WIDTH)))
        return y


class Block(nn.Module):
    """Pre-norm attention and perceptron."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH)
        self.attn = CausalSelfAttention(dropout)
        self.ln_2 = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        y: Tensor = x + self.mlp(self.ln_2(x))
        return y


class NanoGPT(nn.Module):
    """`transformer.h.0`, `transformer.ln_f`, `lm_head`; ``checkpointed`` wraps each block's call."""

    def __init__(self, layers: int = 2, dropout: float = 0.1, checkpointed: bool | None = None) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(VOCABULARY, WIDTH),
                "wpe": nn.Embedding(CONTEXT, WIDTH),
                "drop": nn.Dropout(dropout),
                "h": nn.ModuleList(Block(dropout) for _ in range(layers)),
                "ln_f": nn.LayerNorm(WIDTH),
            }
        )
        self.lm_head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.call: Callable[[nn.Module, Tensor], Tensor] = lambda block, x: block(x)
        if checkpointed is not None:  # whether reentrant
            self.call = lambda block, x: checkpoint(block, x, use_reentrant=checkpointed)

    def forward(self, tokens: Tensor) -> Tensor:
        parts = self.transformer
        x = parts["drop"](parts["wte"](tokens) + parts["wpe"](torch.arange(tokens.shape[1])))
        for block in parts["h"]:
            x = self.call(block, x)
        logits: Tensor = self.lm_head(parts["ln_f"](x))
        return logits


class RMSNorm(nn.Module):
    """Scale by the root mean square."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * x.square().mean(-1, keepdim=True).add(1e-6).rsqrt()


class DecoderLayer(nn.Module):
    """Returns a tuple, as those layers do."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.input_layernorm = RMSNorm()
        self.post_attention_layernorm = RMSNorm()
        self.gate_proj = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.down_proj = nn.Linear(2 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        y = self.input_layernorm(x)
        x = x + self.self_attn(y, y, y, need_weights=False)[0]
        return x + self.down_proj(F.silu(self.gate_proj(self.post_attention_layernorm(x)))), None


class Decoder(nn.Module):
    """`embed_tokens`, `layers.0`, `norm`."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(DecoderLayer() for _ in range(layers))
        self.norm = RMSNorm()

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x)[0]
        y: Tensor = self.norm(x)
        return y


class CausalLM(nn.Module):
    """`model.layers.0.self_attn`, `model.norm`, `lm_head`."""

    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        self.model = Decoder(layers)
        self.lm_head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        return {"logits": self.lm_head(self.model(tokens))}


class Encoder(nn.Module):
    """`nn.TransformerEncoder` between an embedding and a head."""

    def __init__(self, layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, dropout=dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(self.embed(tokens)))
        return logits


def tokens(batch: int = 6, length: int = 8) -> Tensor:
    """The same token ids each time."""
    return torch.randint(0, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(0))
