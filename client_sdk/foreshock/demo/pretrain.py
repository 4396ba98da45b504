"""A little supervised training on demonstrations, some of them wrong: a policy that knows the form and guesses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F  # noqa: N812 (the field's own name)

from .model import Transformer
from .task import OPERATORS, Puzzle, draw, encode, prompt


def demonstration(puzzle: Puzzle, correct: float, generator: torch.Generator) -> str:
    """An answer of the right form; one of the puzzle's own answers with probability ``correct``."""
    if torch.rand((), generator=generator).item() < correct:
        return puzzle.answers[int(torch.randint(len(puzzle.answers), (), generator=generator))]
    order = torch.randperm(len(puzzle.digits), generator=generator).tolist()
    signs = torch.randint(len(OPERATORS), (len(order),), generator=generator).tolist()
    return "".join(f"{puzzle.digits[i]}{OPERATORS[s]}" for i, s in zip(order, signs, strict=True))[:-1]


def pretrain(
    model: Transformer,
    pool: Sequence[Puzzle],
    *,
    generator: torch.Generator,
    steps: int = 400,
    batch: int = 128,
    correct: float = 0.7,
    learning_rate: float = 2e-3,
    on_step: Callable[[int, float], None] = lambda _step, _loss: None,
) -> None:
    """Teach the answers, not the questions. `on_step` gets each step and its loss (nat a token)."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    for step in range(steps):
        asked = draw(pool, batch, generator)
        questions = [prompt(puzzle, generator) for puzzle in asked]
        answers = [encode(demonstration(puzzle, correct, generator) + "\n") for puzzle in asked]
        tokens = torch.tensor([q + a for q, a in zip(questions, answers, strict=True)])
        start = len(questions[0])
        logits = model(tokens[:, :-1])[:, start - 1 :]
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, start:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it without types
        optimizer.step()
        schedule.step()
        on_step(step, loss.item())
