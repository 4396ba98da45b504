"""Two processes train one model, replicated or sharded: each rank measures its own, and the training is not touched."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch.distributed

from foreshock.measure.placements import measurable_in_graphs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not torch.distributed.is_available(), reason="this torch was built without distributed"
    ),
]
ROOT = Path(__file__).parents[2]
REPLICATED_OR_SHARDED = ("ddp", "fsdp", "fsdp2", "fsdp2 watched late", "fsdp2 compiled")
SPLIT = ("tp", "tp compiled", "tp sequence", "tp sequence compiled")

Trained = Callable[[str], list[list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """What each of two ranks wrote of a kind: its plain and its watched outcome. Kinds that are told apart below share two processes."""
    folders: dict[tuple[str, ...], Path] = {}

    def outcomes(kind: str) -> list[list[dict[str, Any]]]:
        kinds = SPLIT if kind in SPLIT else REPLICATED_OR_SHARDED
        if kinds not in folders:
            folders[kinds] = tmp_path_factory.mktemp("ranks")
            train(kinds, folders[kinds])
        written = [folders[kinds] / f"{kind} {rank}.json" for rank in (0, 1)]
        return [json.loads(one.read_text(encoding="utf-8")) for one in written]

    return outcomes


def train(kinds: Sequence[str], folder: Path) -> None:
    """Both ranks, through all of these kinds; of one that fails, and of those after it, there is nothing to read."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.zoo.ranks", str(rank), str(folder), *kinds],
            cwd=ROOT,
            env={**os.environ, "FORESHOCK_STRICT": "1"},
        )
        for rank in (0, 1)
    ]
    try:
        assert [rank.wait(timeout=400) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()


@pytest.mark.parametrize("kind", REPLICATED_OR_SHARDED)
def test_ranks_measure_their_own_and_train_as_without(kind: str, trained: Trained) -> None:
    norms, streams, wholes = [], [], []
    for rank, (plain, watched) in enumerate(trained(kind)):
        assert plain["readings"] == {}
        for what in ("weights", "buffers", "names", "stream", "gradient"):
            assert watched[what] == plain[what], what
        assert watched["gathered"] == 0  # nobody asks for the whole of what is sharded
        readings = watched["readings"]
        for place in ("layers.0", "layers.1", "norm"):
            assert readings[f"n_eff{{place={place},rank={rank}}}"] == 32
            rank_of_rows = readings.get(
                f"effective_rank{{centered=true,place={place},rank={rank}}}", math.nan
            )
            assert math.isfinite(rank_of_rows) == (
                rank == 0
            )  # rows of one kind: one rank's eigenvalues say it
        # Its own batch, though DDP broadcasts the first rank's buffers before each forward pass.
        streams.append(readings[f"stream_rms{{place=norm,rank={rank}}}"])
        assert streams[-1] == pytest.approx(plain["stream"], rel=1e-5)
        assert readings[f"gain_rms{{place=layers.0.norm,rank={rank}}}"] == pytest.approx(1.0, abs=0.05)
        norms.append(readings[f"gradient_norm{{rank={rank}}}"])
        merge = watched["merges"][f"gradient_norm{{rank={rank}}}"]
        assert merge == ("mean" if kind == "ddp" else "norm")  # of shards the squares add
        wholes.append(whole := plain["gradient"])
    assert streams[0] != streams[1]
    if kind == "fsdp":  # each rank reads its share, as the plain outcome does
        assert norms == pytest.approx(wholes, rel=1e-5)
    elif kind == "ddp":  # averaged before the optimizer steps: the same on both
        assert norms == pytest.approx([whole, whole], rel=1e-5)
    else:  # each rank reads its shard; squares add
        assert math.hypot(*norms) == pytest.approx(whole, rel=1e-5)
        assert min(norms) > 0


@pytest.mark.parametrize("kind", SPLIT)
def test_ranks_with_parts_of_each_layer_say_which_and_train_as_without(kind: str, trained: Trained) -> None:
    norms, shares = [], []
    for rank, (plain, watched) in enumerate(trained(kind)):
        for what in ("weights", "buffers", "names", "stream", "gradient", "gradients", "collectives"):
            assert watched[what] == plain[what], what
        assert watched["gathered"] == 0
        label = f",rank={rank}" if rank else ""
        merges, layouts, readings = watched["merges"], watched["layouts"], watched["readings"]
        between = f"n_eff{{place=layers.1,rank={rank}}}"
        units = f"dead_unit_share{{place=layers.0.mlp.1,rank={rank}}}"
        assert between in readings
        if "compiled" in kind and not measurable_in_graphs():
            assert units not in readings  # said when it is watched
        elif "compiled" in kind:  # nobody can see it in there
            assert merges[units] is None
            assert not layouts[units]
        else:
            assert layouts[units] == {
                "part": 0,
                "merge": "min",
                "columns": "mean",
                "shard": rank,
                "shards": 2,
                "width": 16,
            }
        if kind == "tp":
            assert layouts[between] == {"part": 0, "merge": "sum"}
            assert readings[between] == 32
        elif kind == "tp sequence":
            assert not layouts[between]
            assert merges[between] == "sum"
            assert readings[between] == 16
        rank_of_rows = readings.get(f"effective_rank{{centered=true,place=layers.0,rank={rank}}}", math.nan)
        assert math.isfinite(rank_of_rows) == (rank == 0)
        norms.append(readings[f"gradient_norm{{rank={rank}}}"])
        shares.append(plain["gradient"])
        assert merges[f"gradient_norm{{rank={rank}}}"] == "norm", label
    assert shares[0] == pytest.approx(shares[1], rel=1e-6)
    if "sequence" not in kind:  # where the gradients of norms are sums that are not taken yet
        assert math.hypot(*norms) == pytest.approx(shares[0], rel=1e-5)
