"""The models that training.py trains: causal transformers, and the convolutional network that Cockpit's paper measures on."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGES, CLASSES = 64, 10


@dataclass(frozen=True)
class Size:
    """Of a transformer."""

    layers: int = 6
    width: int = 256
    heads: int = 4
    length: int = 128
    batch: int = 16
    vocabulary: int = 1000
    tied: bool = False  # input and output embedding are one


# GPT-2 small, its vocabulary rounded up as its trainers do
GPT2 = Size(layers=12, width=768, heads=12, length=1024, batch=8, vocabulary=50_304, tied=True)
SIZES = {"transformer": Size(), "gpt2": GPT2}


class Attention(nn.Module):
    """Causal self-attention, fused."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.qkv, self.out = nn.Linear(size.width, 3 * size.width), nn.Linear(size.width, size.width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        projected: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return projected


class Block(nn.Module):
    """Pre-norm attention and a GELU MLP."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width = size.width
        self.norm1, self.norm2, self.attention = nn.LayerNorm(width), nn.LayerNorm(width), Attention(size)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed


class Transformer(nn.Module):
    """Tokens [B, T] -> logits [B, T, V]."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.token = nn.Embedding(size.vocabulary, size.width)
        self.position = nn.Embedding(size.length, size.width)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm, self.head = nn.LayerNorm(size.width), nn.Linear(size.width, size.vocabulary)
        if size.tied:
            self.head.weight = self.token.weight
            nn.init.normal_(self.token.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) + self.position.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def convolutional() -> nn.Module:
    """3c3d of DeepOBS: images [B, 3, 32, 32] -> scores [B, 10]."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 5), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)),
        *(nn.Conv2d(64, 96, 3), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)),
        *(nn.Conv2d(96, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)),
        *(
            nn.Flatten(),
            nn.Linear(1152, 512),
            nn.ReLU(),
            nn.Linear(512, 256),
            nn.ReLU(),
            nn.Linear(256, CLASSES),
        ),
    )


def made(shape: str) -> nn.Module:
    """The model of this name, the same in every process."""
    torch.manual_seed(0)
    return Transformer(SIZES[shape]) if shape in SIZES else convolutional()


def batch(shape: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs, and a class for each row of the model's output."""
    if shape in SIZES:
        size = SIZES[shape]
        tokens = torch.randint(0, size.vocabulary, (size.batch, size.length + 1), generator=generator)
        return tokens[:, :-1], tokens[:, 1:]
    images = torch.randn(IMAGES, 3, 32, 32, generator=generator)
    return images, torch.randint(0, CLASSES, (IMAGES,), generator=generator)
