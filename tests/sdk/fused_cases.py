"""Logits of many kinds, and what the kernels make of them: run as a module it writes that to a file, in Triton's interpreter.

The interpreter is chosen by a variable that Triton reads when it is imported, so it has a process to itself.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from foreshock.measure.statistics import nucleus, tokens
from foreshock.measure.statistics.fused import launch


@dataclass(frozen=True)
class Case:
    """One call: logits of p (and of q, for a comparison), the rows picked, the actions, and what is asked for."""

    logits: Tensor
    other: Tensor | None = None
    rows: Tensor | None = None
    actions: Tensor | None = None
    squares: bool = False
    sizes: bool = False
    nucleus: bool = False  # instead

    @property
    def count(self) -> int:
        shape = self.logits.shape[:-1] if self.rows is None else self.rows.shape
        return shape.numel()

    def asked(self) -> dict[str, Any]:
        return {"squares": self.squares, "sizes": self.sizes, "actions": self.actions}


def noise(*shape: int, std: float = 3.0, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * std


def hostile(width: int = 1500) -> Tensor:
    """Rows: ordinary, NaN in it, +inf in it, all -inf, half -inf, certain, flat, offset, -inf first, one possible, tied, tiny."""
    x = noise(12, width)
    x[1, width // 3] = math.nan
    x[2, width - 1] = math.inf
    x[3] = -math.inf
    x[4, : width // 2] = -math.inf
    x[5, 7] = 1000.0
    x[6] = -3.0
    x[7] += 200.0
    x[8, : width - 3] = -math.inf
    x[9] = -math.inf
    x[9, 11] = 5.0
    x[10, 3] = x[10, width - 2] = 30.0
    x[11] = torch.linspace(-3000.0, 0.0, width)
    return x


def batch(dtype: torch.dtype) -> Tensor:
    """All but the last token of each sequence, as a language model's logits are cut: no view as one matrix."""
    return noise(3, 5, 700).to(dtype)[:, :-1]


def eager(case: Case) -> Tensor:
    """What stands in for the kernels where they cannot run."""
    if case.other is not None:
        return tokens.compare(case.logits, case.other, case.rows)
    if case.nucleus and case.rows is not None:
        return nucleus.within(case.logits, case.rows)
    return tokens.scan(case.logits, case.rows, **case.asked())


def _other(logits: Tensor) -> Tensor:
    return logits + noise(*logits.shape, std=1.0, seed=1).to(logits.dtype)


def _excluded() -> Tensor:
    """q excludes what p allows in row 0, and in row 4 only what p excludes as well."""
    q = _other(hostile())
    q[0, 9] = -math.inf
    q[6, 4] = math.nan
    q[7] = -math.inf
    return q


ACTIONS = torch.tensor([0, 5, 7, 9, -1, 7, 3, 1500, 1499, 11, 3, 0])
CASES: dict[str, Case] = {
    "hostile rows": Case(hostile(), squares=True, sizes=True, actions=ACTIONS),
    "hostile rows, entropy alone": Case(hostile()),
    "one short of a block": Case(noise(3, 1023), squares=True),
    "one more than a block": Case(noise(3, 1025), sizes=True),
    "two logits": Case(noise(4, 2), squares=True, sizes=True),
    "one logit": Case(noise(4, 1), squares=True, actions=torch.zeros(4, dtype=torch.int64)),
    "bfloat16, cut sequences": Case(batch(torch.bfloat16), squares=True, sizes=True),
    "float16, cut sequences": Case(batch(torch.float16), actions=torch.arange(12)),
    "picked rows of cut sequences": Case(
        batch(torch.bfloat16),
        rows=torch.tensor([11, 0, 4, 4]),
        actions=torch.tensor([1, 2, 3, 4]),
        squares=True,
    ),
    "picked rows of a matrix": Case(noise(6, 300), rows=torch.tensor([5, 1])),
    "every second column is left out": Case(noise(4, 600)[:, :300]),
    "two policies": Case(hostile(), other=_excluded()),
    "a policy and itself": Case(noise(4, 1300), other=noise(4, 1300)),
    "two policies, picked rows, two dtypes": Case(
        batch(torch.bfloat16), other=_other(noise(3, 4, 700)), rows=torch.tensor([9, 2, 2])
    ),
    "nucleus of hostile rows": Case(hostile(), rows=torch.arange(12), nucleus=True),
    "nucleus, picked rows of cut sequences": Case(
        batch(torch.bfloat16), rows=torch.tensor([11, 0, 4]), nucleus=True
    ),
}


def kernels(case: Case) -> Tensor | None:
    if case.other is not None:
        return launch.compare(case.logits, case.other, case.rows, case.count)
    if case.nucleus and case.rows is not None:
        return launch.nucleus(case.logits, case.rows, nucleus.MASS, nucleus.STEPS)
    return launch.scan(case.logits, case.rows, case.count, **case.asked())


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.save({name: kernels(case) for name, case in CASES.items()}, sys.argv[1])
