"""Laws over HTTP: the ceiling of a run's reward, or why nothing is said about it."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query

from foreshock_server.deps import Reading
from foreshock_server.laws.ceiling import LEVEL, Fit
from foreshock_server.laws.reading import ceiling_of
from foreshock_server.store.numbers import steps_text, written

router = APIRouter(tags=["query"])

Key = Annotated[str | None, Query(max_length=4096, description="a series; without it the first rank's own")]


@router.get("/runs/{run}/ceiling")
def get_ceiling(session: Reading, run: str, entropy: Key = None, reward: Key = None) -> dict[str, Any]:
    """Reward against entropy, R = −a·exp(H) + b: the reward at H = 0 with its interval, and how much of the way is gone.

    `status` is `fitted`, or `withheld` with `reason` and `message`. `path`: the means that the fit was drawn through.
    """
    found = ceiling_of(session, run, entropy, reward)
    law, path = found.law, found.law.path
    return {
        "run": run,
        "entropy": found.entropy.key,
        "reward": found.reward.key,
        "status": "withheld" if law.fit is None else "fitted",
        "reason": law.reason,
        "message": law.message,
        "pairs": law.pairs,
        "fit": None if law.fit is None else _fit(law.fit),
        "path": {
            "steps": steps_text(path.steps),
            "entropy": [written(value) for value in path.entropy.tolist()],
            "reward": [written(value) for value in path.reward.tolist()],
        },
    }


def _fit(fit: Fit) -> dict[str, Any]:
    numbers = {
        "a": fit.a,
        "b": fit.b,
        "ceiling": fit.ceiling,
        "low": fit.low,
        "high": fit.high,
        "level": LEVEL,
        "explained": fit.explained,
        "entropy_spent": fit.entropy_spent,
        "gain_spent": fit.gain_spent,
    }
    left = None
    if fit.left is not None:
        (step,) = steps_text(np.array([fit.left.step]))
        left = {"step": step, "side": fit.left.side, "beside": written(fit.left.beside)}
    return {**{name: written(value) for name, value in numbers.items()}, "left": left}
