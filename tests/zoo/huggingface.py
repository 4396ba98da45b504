"""Three models built and named like the implementations that most people train: Llama's, GPT-2's and BERT's. No package needed.

Only names, shapes and the ways of calling matter here: keyword arguments, tuples as outputs, weights the other way round.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)

VOCABULARY, WIDTH, HEADS, KEY_HEADS = 32, 24, 4, 2


class LlamaRMSNorm(nn.Module):
    """Computes in float32, returns the type that it was given."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.variance_epsilon = 1e-6

    def forward(self, hidden_states: Tensor) -> Tensor:
        x = hidden_states.float()
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * x.to(hidden_states.dtype)


class LlamaAttention(nn.Module):
    """Grouped queries, rotated positions left out."""

    def __init__(self) -> None:
        super().__init__()
        self.head_dim = WIDTH // HEADS
        self.scaling = self.head_dim**-0.5
        self.num_key_value_groups = HEADS // KEY_HEADS
        self.q_proj = nn.Linear(WIDTH, HEADS * self.head_dim, bias=False)
        self.k_proj = nn.Linear(WIDTH, KEY_HEADS * self.head_dim, bias=False)
        self.v_proj = nn.Linear(WIDTH, KEY_HEADS * self.head_dim, bias=False)
        self.o_proj = nn.Linear(HEADS * self.head_dim, WIDTH, bias=False)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, None]:
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        q, k, v = (
            projection(hidden_states).view(shape).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        k, v = (x.repeat_interleave(self.num_key_value_groups, dim=1) for x in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scaling)
        return self.o_proj(mixed.transpose(1, 2).flatten(2)), None


class LlamaMLP(nn.Module):
    """Gated."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.up_proj = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.down_proj = nn.Linear(2 * WIDTH, WIDTH, bias=False)
        self.act_fn = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
        return y


class LlamaDecoderLayer(nn.Module):
    """Called with keywords."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = LlamaAttention()
        self.mlp = LlamaMLP()
        self.input_layernorm = LlamaRMSNorm()
        self.post_attention_layernorm = LlamaRMSNorm()

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor]:
        mixed, _ = self.self_attn(
            hidden_states=self.input_layernorm(hidden_states), attention_mask=attention_mask
        )
        hidden_states = hidden_states + mixed
        return (hidden_states + self.mlp(self.post_attention_layernorm(hidden_states)),)


class LlamaModel(nn.Module):
    """`embed_tokens`, `layers.0`, `norm`."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(LlamaDecoderLayer() for _ in range(layers))
        self.norm = LlamaRMSNorm()

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden_states = self.embed_tokens(input_ids)
        for layer in self.layers:
            hidden_states = layer(hidden_states, attention_mask=None)[0]
        y: Tensor = self.norm(hidden_states)
        return y


class LlamaForCausalLM(nn.Module):
    """`model.layers.0.self_attn.q_proj`, `lm_head`."""

    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        self.model = LlamaModel(layers)
        self.lm_head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        return {"logits": self.lm_head(self.model(input_ids))}


class Conv1D(nn.Module):
    """A linear layer whose weight lies the other way round."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight = nn.Parameter(torch.randn(nx, nf) * 0.02)
        self.bias = nn.Parameter(torch.zeros(nf))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class GPT2Attention(nn.Module):
    """Query, key and value from one product."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.c_attn = Conv1D(3 * WIDTH, WIDTH)
        self.c_proj = Conv1D(WIDTH, WIDTH)
        self.resid_dropout = nn.Dropout(0.1)

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, None]:
        n, t, _ = hidden_states.shape
        q, k, v = (
            x.view(n, t, self.num_heads, -1).transpose(1, 2)
            for x in self.c_attn(hidden_states).split(WIDTH, dim=2)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.resid_dropout(self.c_proj(mixed.transpose(1, 2).flatten(2))), None


class GPT2MLP(nn.Module):
    """Its activation is a module."""

    def __init__(self) -> None:
        super().__init__()
        self.c_fc = Conv1D(4 * WIDTH, WIDTH)
        self.c_proj = Conv1D(WIDTH, 4 * WIDTH)
        self.act = nn.GELU(approximate="tanh")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.c_proj(self.act(self.c_fc(x)))
        return y


class GPT2Block(nn.Module):
    """Pre-norm."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH)
        self.attn = GPT2Attention()
        self.ln_2 = nn.LayerNorm(WIDTH)
        self.mlp = GPT2MLP()

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, None]:
        hidden_states = hidden_states + self.attn(self.ln_1(hidden_states))[0]
        return hidden_states + self.mlp(self.ln_2(hidden_states)), None


class GPT2WithValueHead(nn.Module):
    """`transformer.h.0`, `transformer.ln_f`, `lm_head` (tied to `transformer.wte`), `v_head.summary`."""

    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(VOCABULARY, WIDTH),
                "h": nn.ModuleList(GPT2Block() for _ in range(layers)),
                "ln_f": nn.LayerNorm(WIDTH),
            }
        )
        self.lm_head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight
        self.v_head = nn.ModuleDict({"dropout": nn.Dropout(0.1), "summary": nn.Linear(WIDTH, 1)})

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        x = self.transformer["wte"](input_ids)
        for block in self.transformer["h"]:
            x = block(x)[0]
        x = self.transformer["ln_f"](x)
        return self.lm_head(x), self.v_head["summary"](self.v_head["dropout"](x)).squeeze(-1)


class BertSelfAttention(nn.Module):
    """`query`, `key`, `value`; scores as a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.num_attention_heads = HEADS
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.dropout = nn.Dropout(0.1)

    def forward(self, hidden_states: Tensor) -> Tensor:
        n, t, _ = hidden_states.shape
        q, k, v = (
            layer(hidden_states).view(n, t, self.num_attention_heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = self.dropout((q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5).softmax(-1))
        return (weights @ v).transpose(1, 2).flatten(2)


class BertOutput(nn.Module):
    """Adds, then normalises."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(0.1)

    def forward(self, hidden_states: Tensor, input_tensor: Tensor) -> Tensor:
        y: Tensor = self.LayerNorm(self.dropout(self.dense(hidden_states)) + input_tensor)
        return y


class BertLayer(nn.Module):
    """`attention.self`, `attention.output`, `intermediate`, `output`."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": BertSelfAttention(), "output": BertOutput(WIDTH)})
        self.intermediate = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU())
        self.output = BertOutput(2 * WIDTH)

    def forward(self, hidden_states: Tensor) -> Tensor:
        x = self.attention["output"](self.attention["self"](hidden_states), hidden_states)
        y: Tensor = self.output(self.intermediate(x), x)
        return y


class BertForSequenceClassification(nn.Module):
    """`bert.embeddings`, `bert.encoder.layer.0`, `bert.pooler`, `classifier`."""

    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        self.bert = nn.ModuleDict(
            {
                "embeddings": nn.Embedding(VOCABULARY, WIDTH),
                "encoder": nn.ModuleDict({"layer": nn.ModuleList(BertLayer() for _ in range(layers))}),
                "pooler": nn.Linear(WIDTH, WIDTH),
            }
        )
        self.classifier = nn.Linear(WIDTH, 3)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.bert["embeddings"](input_ids)
        for layer in self.bert["encoder"]["layer"]:
            x = layer(x)
        y: Tensor = self.classifier(self.bert["pooler"](x[:, 0]).tanh())
        return y
