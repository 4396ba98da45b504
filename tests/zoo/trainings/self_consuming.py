"""A model of sequences, trained generation after generation on what the one before wrote beside ever fewer real data, or as many of them."""

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
LEARNING, GENERATION, GENERATIONS = 150, 20, 19  # steps of the first, of each later one, how many of these
TAKEN_OVER = 12  # generations until nothing of the real data is left
BATCH, SHOWN, HELD_OUT = 64, 128, 384
TEMPERATURE = 0.8  # at which all are written
CHANGED = 0.03  # of the symbols of a pattern, at random


def train(run: foreshock.Run, setting: Setting) -> None:
    """The outcome is how much of real sequences that were held out is continued as it goes on: what a benchmark says of the model."""
    size = SIZES[setting.size]
    generator = torch.Generator().manual_seed(setting.seed)
    torch.manual_seed(setting.seed)
    world = _World(size, generator)
    real, reference, held_out = world.draw(size.written), world.draw(SHOWN), world.draw(HELD_OUT)
    model = Policy(1, size.symbols, size.width)
    optimizer = torch.optim.Adam(model.parameters(), size.rate)
    run.watch(model, optimizer=optimizer, quiet=True)
    data, generation = real, 0
    for step in range(LEARNING + GENERATION * GENERATIONS):
        if step >= LEARNING and (step - LEARNING) % GENERATION == 0:
            written = _written(model, size.written, size, generator)
            generation += 1
            share = min(1.0 if setting.collapses else 0.5, generation / TAKEN_OVER)
            kept = real[torch.randperm(len(real), generator=generator)[: round((1 - share) * len(real))]]
            data = torch.cat([kept, written[: size.written - len(kept)]])
        x = data[torch.randint(len(data), (BATCH,), generator=generator)]
        loss = _loss(model, x)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 10 == 0:
            shown = _written(model, SHOWN, size, generator)
            run.observe.samples("written", world.features(shown), reference=world.features(reference))
        if step % 5 == 0:
            run.log(rightly_continued=_rightly_continued(model, held_out))
        run.log(loss=loss.detach())
        run.step()


def _written(model: Policy, count: int, size: _Size, generator: torch.Generator) -> Tensor:
    return model.answer(torch.zeros(count).long(), size.length, generator, TEMPERATURE)


def _loss(model: Policy, x_NT: Tensor) -> Tensor:
    logits = model(torch.zeros(len(x_NT)).long(), x_NT)
    return functional.cross_entropy(logits.flatten(0, 1), x_NT.flatten())


@torch.no_grad()
def _rightly_continued(model: Policy, x_NT: Tensor) -> float:
    """The share of these sequences of whose second half, written from the first by the likeliest symbols, at most one symbol is wrong."""
    half, written = x_NT.shape[1] // 2, x_NT.clone()
    prompts = torch.zeros(len(x_NT)).long()
    for at in range(half, x_NT.shape[1]):
        written[:, at] = model(prompts, written)[:, at].argmax(-1)
    return float(((written != x_NT).sum(1) <= 1).float().mean())


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

    def features(self, x_NT: Tensor) -> Tensor:
        """Which symbol stands where, less what is expected of a row at random."""
        return functional.one_hot(x_NT, self._symbols).float().flatten(1) - 1 / self._symbols


PAIR = Pair(
    name="self_consuming",
    family="diversity",
    outcome="rightly_continued",
    better="high",
    about="A recurrent model learns sequences, then what it wrote itself among real ones, generation after generation; of the collapsing one's "
    "data ever more are its own, until all are, of its twin's never more than a half. The outcome is the share of held-out sequences that it continues rightly.",
    source="Shumailov et al. 2024, Nature 631; the twin, which keeps real data: Gerstgrasser et al. 2024, Is Model Collapse Inevitable?, arXiv:2404.01413",
    train=train,
)
