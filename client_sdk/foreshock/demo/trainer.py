"""One process of the demo: `pretrain` writes a checkpoint, `run` trains from it under Foreshock; both tell each step as a line of JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import foreshock
from foreshock.guard import faults

from .children import Variant
from .grpo import COLLAPSING, ENTROPY_PRESERVING, Recipe, train
from .model import Transformer, build
from .pretrain import pretrain
from .task import ALPHABET, Puzzle, draw, puzzles

RECIPES: dict[Variant, Recipe] = {Variant.COLLAPSE: COLLAPSING, Variant.TWIN: ENTROPY_PRESERVING}
PRETRAINING_STEPS = 400
POOL = 96  # puzzles that reinforcement learning comes back to, each with at least two answers


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the parent asked for; see `Child`."""
    parser = argparse.ArgumentParser(prog="foreshock.demo.trainer")
    parser.add_argument("what", choices=["pretrain", "run"])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--variant", type=Variant)
    parser.add_argument("--url")
    parser.add_argument("--spool", type=Path)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(
        1
    )  # tiny matrices: a second thread costs more than it brings, above all on a busy machine
    if arguments.what == "pretrain":
        _pretrain(arguments.seed, arguments.checkpoint)
    else:
        _run(arguments.variant, arguments.seed, arguments.checkpoint, arguments.url, arguments.spool)
    return 0


def _pretrain(seed: int, checkpoint: Path) -> None:
    model = fresh(seed)
    pretrain(
        model,
        puzzles(3),
        generator=torch.Generator().manual_seed(seed),
        steps=PRETRAINING_STEPS,
        on_step=lambda step, loss: _tell(step=step, of=PRETRAINING_STEPS, loss=loss),
    )
    torch.save(model.state_dict(), checkpoint)


def _run(variant: Variant, seed: int, checkpoint: Path, url: str, spool: Path) -> None:
    model = fresh(seed)
    model.load_state_dict(torch.load(checkpoint))
    recipe = RECIPES[variant]
    run = foreshock.init(
        project="demo-grpo",
        name=f"{variant}-seed-{seed}",
        config={"seed": seed, "variant": variant.value, "recipe": recipe},
        url=url,
        dir=spool,
        budget=0,  # every reading, however slow the machine: the same seed tells the same story
    )
    _tell(run=run.id, url=run.url)

    @run.on_alert
    def _(alert: foreshock.Alert) -> None:
        _tell(alert={"rule": alert.rule, "step": alert.step, "message": alert.message})

    with run:
        table = run.watch(model, quiet=True)  # our lines on stdout are read by a program
        if variant is Variant.COLLAPSE:  # the twin is watched alike
            _tell(watching=str(table))
        train(
            model,
            pool(seed),
            recipe,
            generator=torch.Generator().manual_seed(100 + seed),
            run=run,
            on_step=lambda report: _tell(of=recipe.steps, **report),
        )
    _tell(
        tally={
            "points": run.recorded,
            "dropped": sum(run.lost.values()),
            "lost": dict(run.lost),
            "faults": dict(faults()),
        }
    )


def fresh(seed: int) -> Transformer:
    """The model before anything was learnt."""
    return build(seed, vocabulary=len(ALPHABET))


def pool(seed: int) -> list[Puzzle]:
    """What both runs of a seed are asked: puzzles with more than one answer, so that there is something to be undecided about."""
    several = [puzzle for puzzle in puzzles(3) if len(puzzle.answers) > 1]
    return draw(several, POOL, torch.Generator().manual_seed(5 + seed))


def _tell(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
