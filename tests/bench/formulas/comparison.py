"""One statistic and whoever else computes it, and how far apart they are, as a line of a Markdown table."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

DRAWS = 5


@dataclass(frozen=True)
class Comparison:
    """One statistic and whoever else computes it; both take the number of the draw."""

    statistic: str
    package: str  # as pip calls it; what has none begins with a word in small letters
    told: str  # what was compared, and on what
    ours: Callable[[int], float]
    theirs: Callable[[int], float]


def line(one: Comparison) -> str:
    """Of the Markdown table."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            pairs = [(one.ours(draw), one.theirs(draw)) for draw in range(DRAWS)]
    except ImportError as missing:
        return f"| `{one.statistic}` | {one.package} | {one.told} | | | not there: {missing.name} |"
    apart = max(abs(a - b) / max(abs(b), 1e-12) if a != b else 0.0 for a, b in pairs)
    ours, theirs = max(pairs, key=lambda pair: abs(pair[0]))  # of one draw: a zero would show nothing
    return f"| `{one.statistic}` | {_named(one.package)} | {one.told} | {ours:.6g} | {theirs:.6g} | {apart:.1e} |"


def _named(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package


def drawn(draw: int, *shape: int, decay: float = 0.0) -> Tensor:
    """Normal numbers, the columns falling off by a power."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(draw))
    return x * torch.arange(1, shape[-1] + 1) ** -decay


def reading(row: Tensor, specs: Any, statistic: str) -> float:
    """The first of this statistic in a row of readings."""
    return next(value for spec, value in zip(specs, row.tolist(), strict=True) if spec.statistic == statistic)
