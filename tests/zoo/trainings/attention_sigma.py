"""A small transformer whose queries, keys and values are learnt in ever larger steps, until each of its heads looks at a single place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tests.zoo.trainings._attention import Attention
from tests.zoo.trainings._schedule import part
from tests.zoo.trainings.pair import Pair, Setting
from torch import Tensor, nn
from torch.nn import functional

import foreshock


@dataclass(frozen=True)
class _Size:
    """What the two sizes differ in."""

    width: int
    heads: int
    topics: int
    symbols: int
    length: int
    rate: float


SIZES = {
    "tuning": _Size(width=32, heads=2, topics=8, symbols=24, length=12, rate=3e-3),
    "reported": _Size(width=40, heads=4, topics=10, symbols=32, length=14, rate=2.5e-3),
}
DEPTH, BATCH, HELD_OUT = 2, 32, 512
STEPS, GROWS, FURTHER = 1000, (400, 900), 25.0  # within which steps that rate grows, by which factor


class Layer(nn.Module):
    """Attention, then a perceptron, each behind a norm and with a connection around it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before_attention, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.before_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before_attention(x))
        y: Tensor = x + self.mlp(self.before_mlp(x))
        return y


class Reader(nn.Module):
    """Rows of symbols [N, T] -> logits [N, topics], from the mean over the places."""

    def __init__(self, size: _Size) -> None:
        super().__init__()
        self.symbol = nn.Embedding(size.symbols, size.width)
        self.place = nn.Parameter(torch.randn(size.length, size.width))
        self.layers = nn.ModuleList([Layer(size.width, size.heads) for _ in range(DEPTH)])
        self.norm = nn.LayerNorm(size.width)
        self.head = nn.Linear(size.width, size.topics)

    def forward(self, x: Tensor) -> Tensor:
        h = self.symbol(x) + self.place
        for layer in self.layers:
            h = layer(h)
        logits: Tensor = self.head(self.norm(h.mean(1)))
        return logits


def train(run: foreshock.Run, setting: Setting) -> None:
    """To tell of which topic a row of symbols is: Adam, with a learning rate of their own for queries, keys and values."""
    size = SIZES[setting.size]
    generator = torch.Generator().manual_seed(setting.seed)
    torch.manual_seed(setting.seed)
    topics = torch.randn(size.topics, size.symbols, generator=generator).softmax(1)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        of = torch.randint(size.topics, (count,), generator=generator)
        return torch.multinomial(topics[of], size.length, replacement=True, generator=generator), of

    held_out, truth = draw(HELD_OUT)
    model = Reader(size)
    scores = [layer.attention.qkv.weight for layer in model.layers]  # type: ignore[union-attr]
    others = [one for name, one in model.named_parameters() if ".qkv." not in name]
    optimizer = torch.optim.Adam([{"params": others}, {"params": scores}], size.rate)
    further = FURTHER if setting.collapses else 1.0
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, [lambda step: 1.0, lambda step: further ** part(step, *GROWS)]
    )
    run.watch(model, optimizer=optimizer, quiet=True)
    for step in range(STEPS):
        x, of = draw(BATCH)
        loss = functional.cross_entropy(model(x), of)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 5 == 0:
            model.eval()
            with torch.no_grad():
                run.log(told_right=(model(held_out).argmax(-1) == truth).float().mean())
            model.train()
        run.log(loss=loss.detach())
        run.step()


PAIR = Pair(
    name="attention_sigma",
    family="attention",
    outcome="told_right",
    better="high",
    about="A small transformer tells the topic of rows of symbols; in the collapsing one the learning rate of queries, keys and values grows "
    "twenty-five-fold from step 400 to 900, so their weights grow, the logits with them, and the attention's entropy falls. The outcome is the held-out accuracy.",
    source="Zhai et al. 2023, Stabilizing Transformer Training by Preventing Attention Entropy Collapse, arXiv:2303.06296; Wortsman et al. 2023, arXiv:2309.14322 (logit growth at large learning rates)",
    train=train,
    begins=GROWS[0],
)
