"""Two processes train one model, replicated or sharded: each rank measures its own, and the training is not touched."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch.distributed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not torch.distributed.is_available(), reason="this torch was built without distributed"
    ),
]
ROOT = Path(__file__).parents[2]


def train(kind: str, folder: Path) -> list[list[dict[str, Any]]]:
    """What each of two ranks wrote: its plain and its watched outcome."""
    outs = [folder / f"{rank}.json" for rank in (0, 1)]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.zoo.ranks", kind, str(rank), str(folder / "store"), str(out)],
            cwd=ROOT,
            env={**os.environ, "FORESHOCK_STRICT": "1"},
        )
        for rank, out in enumerate(outs)
    ]
    try:
        assert [rank.wait(timeout=240) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    return [json.loads(out.read_text(encoding="utf-8")) for out in outs]


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_ranks_measure_their_own_and_train_as_without(kind: str, tmp_path: Path) -> None:
    norms = []
    for rank, (plain, watched) in enumerate(train(kind, tmp_path)):
        assert plain["readings"] == {}
        assert watched["weight"] == plain["weight"]
        readings = watched["readings"]
        assert readings[f"n_eff{{place=1,rank={rank}}}"] == 32
        assert math.isfinite(readings[f"effective_rank{{centered=true,place=4,rank={rank}}}"])
        norms.append(readings[f"gradient_norm{{rank={rank}}}"])
        whole = plain["gradient"]
    if kind == "ddp":  # averaged before the optimizer steps: the same on both
        assert norms == pytest.approx([whole, whole], rel=1e-5)
    else:  # each rank reads its shard; squares add
        assert math.hypot(*norms) == pytest.approx(whole, rel=1e-5)
        assert min(norms) > 0
