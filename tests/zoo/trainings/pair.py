"""What a training in two ways says of itself, so that one harness trains, judges and counts all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import foreshock


@dataclass(frozen=True)
class Setting:
    """Which of the two, and how. `tuning` is another width, data and step size than `reported`: levels are chosen on the first."""

    seed: int
    collapses: bool
    size: Literal["tuning", "reported"] = "reported"

    @property
    def way(self) -> str:
        """In a word."""
        return "collapsing" if self.collapses else "healthy"


@dataclass(frozen=True)
class Pair:
    """A training that collapses and its twin, on one thread of a CPU in a few seconds each."""

    name: str  # as the module
    family: str  # which collapse it is an example of; the name of a built-in pack
    outcome: str  # the logged series that a researcher would judge the run by, about once every five steps or oftener
    better: Literal["high", "low"]  # which way that outcome should go
    about: str  # in a sentence: what is trained on what, and what the collapsing one lacks
    source: str  # where this collapse is described
    train: Callable[[foreshock.Run, Setting], None]
    """Trains with the run's hooks on (`run.watch`, `run.observe`, `run.log`, `run.step`), as a user would write it, and logs the outcome."""
    begins: int = 0  # the step at which the cause of the collapse sets in; before it both twins are the same training, bit for bit
