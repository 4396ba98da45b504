"""The seconds of the training steps of a GPT-2, watched and bare by turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from tests.bench.subjects.models import Size, Transformer
from torch.nn import functional

from foreshock import Run
from foreshock.testing import recording


def trainer(size: Size, device: str, run: Run | None, *, policy: bool = False) -> Callable[[], None]:
    """One step of training in bfloat16, compiled; watched where there is a run, its logits shown too where ``policy`` says so."""
    torch.manual_seed(0)
    model = Transformer(size).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=device == "cuda")
    if run is not None:
        run.watch(model, optimizer=optimizer, quiet=True)  # before the first compiled call
    compiled = torch.compile(model)
    tokens = torch.randint(size.vocabulary, (size.batch, size.length + 1), device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            logits = compiled(tokens[:, :-1])
            loss = functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        if run is not None:
            if policy:
                run.observe.policy(logits, actions=tokens[:, 1:])
            run.log(loss=loss)
            run.step()

    return step


@dataclass(frozen=True)
class Turns:
    """Seconds of blocks of steps, block i of one beside block i of the other, and what the run says of itself."""

    bare: list[float]
    watched: list[float]
    percent: float  # by our own account, since the first step
    skipped: int
    level: int

    @property
    def ratios(self) -> list[float]:
        """Of each pair of blocks, ascending."""
        return sorted(ours / theirs for ours, theirs in zip(self.watched, self.bare, strict=True))


def by_turns(size: Size, device: str, *, blocks: int, steps: int, warm: int, policy: bool = False) -> Turns:
    """A bare and a watched model, trained in one process by turns; each block ends when the device has ended."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def block(step: Callable[[], None], count: int) -> float:
        wait()
        began = time.perf_counter()
        for _ in range(count):
            step()
        wait()
        return time.perf_counter() - began

    with recording(budget=None) as recorded:
        bare, watched = trainer(size, device, None), trainer(size, device, recorded.run, policy=policy)
        for step in (bare, watched):
            block(step, warm)
        pairs = []
        for number in range(blocks):
            order = (bare, watched) if number % 2 else (watched, bare)
            seconds = {step: block(step, steps) for step in order}
            pairs.append((seconds[bare], seconds[watched]))
        assert recorded.run.session is not None
        instruments = recorded.run.session.instruments()
        return Turns(
            [theirs for theirs, _ in pairs],
            [ours for _, ours in pairs],
            recorded.run.cost["percent"],
            instruments.skipped,
            instruments.level,
        )
