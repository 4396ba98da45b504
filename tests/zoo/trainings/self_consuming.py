"""A model of sequences, trained generation after generation on what the one before wrote, in place of the real data or beside them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tests.zoo.trainings._policy import Policy
from tests.zoo.trainings.pair import Pair, Setting
from torch import Tensor
from torch.nn import functional

import foreshock


@dataclass(frozen=True)
class _Size:
    """What the two sizes differ in."""

    patterns: int
    length: int
    symbols: int
    width: int
    written: int  # sequences that a generation writes, as many as there are real ones
    rate: float


SIZES = {
    "tuning": _Size(patterns=24, length=10, symbols=8, width=48, written=192, rate=6e-3),
    "reported": _Size(patterns=32, length=12, symbols=8, width=56, written=256, rate=5e-3),
}
LEARNING, GENERATION, GENERATIONS = 150, 20, 12  # steps of the first, of each later one, how many of these
BATCH, SHOWN = 64, 128
TEMPERATURE = 0.8  # at which all are written
CHANGED = 0.03  # of the symbols of a pattern, at random


def train(run: foreshock.Run, setting: Setting) -> None:
    """The outcome is how much of what is written is right: what people see who read single samples."""
    size = SIZES[setting.size]
    generator = torch.Generator().manual_seed(setting.seed)
    torch.manual_seed(setting.seed)
    world = _World(size, generator)
    real, reference = world.draw(size.written), world.draw(SHOWN)
    model = Policy(1, size.symbols, size.width)
    optimizer = torch.optim.Adam(model.parameters(), size.rate)
    run.watch(model, optimizer=optimizer, quiet=True)
    data = real
    for step in range(LEARNING + GENERATION * GENERATIONS):
        if step >= LEARNING and (step - LEARNING) % GENERATION == 0:
            written = _written(model, size.written, size, generator)
            data = written if setting.collapses else torch.cat([data, written])
        x = data[torch.randint(len(data), (BATCH,), generator=generator)]
        loss = _loss(model, x)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 10 == 0:
            shown = _written(model, SHOWN, size, generator)
            run.observe.samples("written", world.features(shown), reference=world.features(reference))
        if step % 5 == 0:
            run.log(rightly_written=world.right(_written(model, 512, size, generator)))
        run.log(loss=loss.detach())
        run.step()


def _written(model: Policy, count: int, size: _Size, generator: torch.Generator) -> Tensor:
    return model.answer(torch.zeros(count).long(), size.length, generator, TEMPERATURE)


def _loss(model: Policy, x_NT: Tensor) -> Tensor:
    logits = model(torch.zeros(len(x_NT)).long(), x_NT)
    return functional.cross_entropy(logits.flatten(0, 1), x_NT.flatten())


class _World:
    """Patterns of symbols, some of them seldom, with a symbol changed here and there."""

    def __init__(self, size: _Size, generator: torch.Generator) -> None:
        self._symbols, self._generator = size.symbols, generator
        self._patterns = torch.randint(size.symbols, (size.patterns, size.length), generator=generator)
        self._often = 1 / torch.arange(1, size.patterns + 1).sqrt()

    def draw(self, count: int) -> Tensor:
        """Sequences [count, length]."""
        of = torch.multinomial(self._often, count, replacement=True, generator=self._generator)
        x = self._patterns[of]
        changed = torch.rand(x.shape, generator=self._generator) < CHANGED
        return torch.where(changed, torch.randint(self._symbols, x.shape, generator=self._generator), x)

    def right(self, x_NT: Tensor) -> float:
        """The share of these that are one of the patterns, a symbol aside."""
        same = (x_NT[:, None] == self._patterns).sum(2) >= x_NT.shape[1] - 1
        return float(same.any(1).float().mean())

    def features(self, x_NT: Tensor) -> Tensor:
        """Which symbol stands where, less what is expected of a row at random."""
        return functional.one_hot(x_NT, self._symbols).float().flatten(1) - 1 / self._symbols


PAIR = Pair(
    name="self_consuming",
    family="diversity",
    outcome="rightly_written",
    better="high",
    about="A recurrent model learns sequences, then what it wrote itself, generation after generation; the collapsing one keeps no older data.",
    source="Shumailov et al. 2024, Nature 631; the twin: Gerstgrasser et al. 2024, Is Model Collapse Inevitable?, arXiv:2404.01413",
    train=train,
)
