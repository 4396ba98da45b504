"""Many layers of attention on rows of symbols, with and without a way around them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tests.zoo.trainings._attention import Attention, turned
from tests.zoo.trainings.pair import Pair, Setting
from torch import Tensor, nn
from torch.nn import functional

import foreshock


@dataclass(frozen=True)
class _Size:
    """What the two sizes differ in."""

    depth: int
    width: int
    heads: int
    symbols: int
    length: int
    batch: int
    rate: float


SIZES = {
    "tuning": _Size(depth=10, width=32, heads=2, symbols=8, length=10, batch=48, rate=5e-4),
    "reported": _Size(depth=12, width=40, heads=4, symbols=10, length=12, batch=48, rate=4e-4),
}
STEPS = 300


class Layer(nn.Module):
    """Attention behind a norm, and what goes around it."""

    def __init__(self, size: _Size, *, around: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size.width)
        self.attention = Attention(size.width, size.heads)
        self.around = around

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.attention(self.norm(x))
        return x + y if self.around else y


class Reader(nn.Module):
    """Rows of symbols [N, T] -> logits [N, T, symbols]."""

    def __init__(self, size: _Size, *, around: bool) -> None:
        super().__init__()
        self.symbol = nn.Embedding(size.symbols, size.width)
        self.place = nn.Parameter(torch.randn(size.length, size.width))
        self.layers = nn.ModuleList([Layer(size, around=around) for _ in range(size.depth)])
        self.norm = nn.LayerNorm(size.width)
        self.head = nn.Linear(size.width, size.symbols)

    def forward(self, x: Tensor) -> Tensor:
        h = self.symbol(x) + self.place
        for layer in self.layers:
            h = layer(h)
        logits: Tensor = self.head(self.norm(h))
        return logits


def train(run: foreshock.Run, setting: Setting) -> None:
    """To read backwards; the outcome is the share of symbols that are told right in new rows."""
    size = SIZES[setting.size]
    generator = torch.Generator().manual_seed(setting.seed)
    torch.manual_seed(setting.seed)
    model = Reader(size, around=not setting.collapses)
    optimizer = torch.optim.Adam(model.parameters(), size.rate)
    held_out, truth = turned(64, size.length, size.symbols, generator)
    run.watch(model, optimizer=optimizer, quiet=True)
    for step in range(STEPS):
        x, target = turned(size.batch, size.length, size.symbols, generator)
        loss = functional.cross_entropy(model(x).flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 5 == 0:
            model.eval()
            with torch.no_grad():
                run.log(told_right=(model(held_out).argmax(-1) == truth).float().mean())
            model.train()
        run.log(loss=loss.detach())
        run.step()


PAIR = Pair(
    name="deep_attention",
    family="attention",
    outcome="told_right",
    better="high",
    about="Layers of attention alone learn to read rows of symbols backwards; the collapsing one has no connections around its layers.",
    source="Dong et al. 2021, Attention is not all you need, arXiv:2103.03404",
    train=train,
)
