"""A training of a 12-layer transformer through the SDK -> the series that it sends by default, with the level of each: what servers meet.

Rules watch these by name, place and labels; series that were made up for a bench would pass them by.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tests.zoo.transformers import CONTEXT, VOCABULARY, NanoGPT
from torch.nn import functional as F  # noqa: N812 (the field's own name)

import foreshock
from foreshock.record.wire import Rows, unpack_block
from foreshock.spool.folder import Reader, folders_below
from foreshock.spool.segment import Kind

LAYERS = 12
STEPS = 21  # with two records of what is looked at every tenth step
SPREAD = 0.02  # of a reading about its level: a run on which nothing fires


class Typical(NamedTuple):
    """Some numbers a step of one run."""

    series: list[dict[str, Any]]  # as on the wire, numbers and no vectors
    levels: NDArray[np.float64]  # what was last read of each


def typical(folder: Path, number: int) -> Typical:
    """So many series of those that the training sends, each statistic having its turn at one place after the other."""
    _train(folder)
    frames: dict[int, list[dict[str, Any]]] = {}
    last: dict[str, tuple[dict[str, Any], float]] = {}
    for spool in folders_below(folder):
        reader = Reader(spool)
        while records := reader.read(complete=True):
            for block in (unpack_block(one.payload) for one in records if one.kind is Kind.BLOCK):
                frames |= {frame["frame"]: frame["series"] for frame in block["frames"]}
                for packed in block["rows"]:
                    known = frames[packed["frame"]]
                    if any(one.get("axis") for one in known):
                        continue
                    values = Rows.from_wire(packed, known[0]["dtype"]).values[-1]
                    last |= {
                        one["key"]: (one, float(value)) for one, value in zip(known, values, strict=True)
                    }
    turns: dict[str, int] = defaultdict(int)
    order = []
    for one, value in last.values():
        turns[one["statistic"]] += 1
        order.append((turns[one["statistic"]], one, value))
    chosen = sorted(order, key=lambda turn: turn[0])[:number]
    if len(chosen) < number:
        raise ValueError(f"the training sends {len(chosen)} numbers a step, fewer than {number}")
    levels = np.nan_to_num(np.array([value for *_, value in chosen]), nan=1.0, posinf=1.0, neginf=1.0)
    return Typical([{**one, "dtype": "f32"} for _, one, _ in chosen], levels)


def noisy(levels: NDArray[np.float64], rng: np.random.Generator, steps: int) -> NDArray[np.float32]:
    """Readings about these levels, a row per step."""
    return (levels * (1 + SPREAD * rng.standard_normal((steps, len(levels))))).astype(np.float32)


def _train(folder: Path) -> None:
    torch.manual_seed(0)
    run = foreshock.init(
        project="bench", dir=folder, offline=True, budget=0
    )  # nothing is left out on a slow machine
    model = NanoGPT(LAYERS)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    run.watch(model, optimizer=optimizer, quiet=True)
    for _ in range(STEPS):
        tokens = torch.randint(VOCABULARY, (8, CONTEXT))
        logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.observe.policy(logits.detach(), actions=tokens[:, 1:])
        run.log(loss=loss.detach(), reward=0.5)
        run.step()
    run.finish()
