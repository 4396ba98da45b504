"""The two models that training.py trains: a causal transformer, and the convolutional network that Cockpit's paper measures on."""

import torch
from torch import Tensor, nn
from torch.nn import functional

LAYERS, WIDTH, HEADS, LENGTH, BATCH, VOCABULARY = 6, 256, 4, 128, 16, 1000
IMAGES, CLASSES = 64, 10


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        projected: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return projected


class Block(nn.Module):
    """Pre-norm attention and a GELU MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2, self.attention = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), Attention()
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed


class Transformer(nn.Module):
    """Tokens [B, T] -> logits [B, T, V]."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY)

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
    return Transformer() if shape == "transformer" else convolutional()


def batch(shape: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs, and a class for each row of the model's output."""
    if shape == "transformer":
        tokens = torch.randint(0, VOCABULARY, (BATCH, LENGTH + 1), generator=generator)
        return tokens[:, :-1], tokens[:, 1:]
    images = torch.randn(IMAGES, 3, 32, 32, generator=generator)
    return images, torch.randint(0, CLASSES, (IMAGES,), generator=generator)
