"""Ranks that hold parts of the layers of one model: merged where that can be, what one process reads; kept apart where it cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch.distributed
from tests.topology import ranks
from tests.topology.processes import Server
from tests.zoo.tensor_parallel import DEAD, STEPS, WIDTH

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not torch.distributed.is_available(), reason="this torch was built without distributed"
    ),
]

# Of what passes between the layers, the same on both ranks, or other tokens on each.
BETWEEN = ("n_eff", "nonfinite_count")
ALIKE = (
    "embedding_std",
    "mean_cosine",
    "mean_cosine_centered",
    "mean_share",
    "participation_ratio",
    "rank_one_residual",
)  # the same where all see the same rows; of other rows an average
OF_NORMS = ("gain_rms", "gain_small_share", "stream_rms")
ACTIVE = ("dead_unit_share", "nonfinite_count", "unit_samples", "zero_activation_share", "n_eff")
OF_HEADS = (
    "attention_entropy",
    "attention_heads_above",
    "attention_heads_below",
    "attention_logit_bound",
    "attention_logit_max{heads=max",  # those of each head are shown by shard
    "attention_logit_spread",
    "attention_sink",
    "attention_sink_share",
)
OF_PARAMETERS = ("gradient_norm", "gradient_max", "weight_norm")
SHOWN = ("output_rows", "output_entropy", "output_margin")


Read = dict[str, dict[str, np.ndarray]]
WORLDS = {"alone": 1, "tp": 2, "sequence": 2, "fsdp2-tp": 4}


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """What the server has of one process, and of each way of sharing its work."""
    folder = tmp_path_factory.mktemp("layouts")
    server = Server(folder / "data", {})
    server.start()
    found: Read = {}
    for kind, world in WORLDS.items():
        ranks.train("tests.zoo.tensor_parallel", kind, world, server, folder)
        found[kind] = ranks.columns(server, kind, "gradient_norm{rank=all}", STEPS - 1)
    server.stop()
    return found


def merged(several: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the server made of all ranks, by the keys of a run of one process."""
    return {ranks.apart(key): values for key, values in several.items() if "rank=all" in key}


def compare(
    several: dict[str, np.ndarray], whole: dict[str, np.ndarray], statistics: tuple[str, ...], within: str
) -> None:
    """Every merged series of these statistics (with the first of their labels where one is given) whose key has these letters, and
    there are some of each, is that of one process."""
    for statistic in statistics:
        keys = [
            key
            for key in whole
            if (key == statistic or key.startswith((f"{statistic}{{", f"{statistic},"))) and within in key
        ]
        assert keys, statistic
        for key in keys:
            np.testing.assert_allclose(several[key], whole[key], rtol=2e-3, atol=2e-4, err_msg=key)


@pytest.mark.parametrize("kind", ["tp", "fsdp2-tp"])
def test_columns_and_copies_are_merged_to_what_one_process_reads(kind: str, read: Read) -> None:
    whole, together = read["alone"], merged(read[kind])
    compare(together, whole, BETWEEN, "place=blocks.1")
    compare(together, whole, ACTIVE, "mlp.act")
    compare(together, whole, OF_PARAMETERS, "")
    compare(together, whole, SHOWN, "")
    assert together["dead_unit_share{place=blocks.0.mlp.act}"][-1] >= DEAD / (4 * WIDTH)
    if kind == "tp":  # of half of the rows each, averages of ranks are near, and the rest is not
        compare(together, whole, ALIKE, "place=blocks.1}")
        compare(together, whole, OF_NORMS, "norm1}")
        compare(together, whole, OF_HEADS, "place=blocks")


def test_what_needs_all_columns_is_shown_by_shard_and_never_merged(read: Read) -> None:
    several = read["tp"]
    for statistic in ("effective_rank{centered=true,", "mean_share{"):
        first = several[f"{statistic}place=blocks.0.mlp.act,shard=0/2}}"]
        second = several[f"{statistic}place=blocks.0.mlp.act,rank=1,shard=1/2}}"]
        assert np.isfinite(first).all()
        assert np.isfinite(second).all()
        assert not np.allclose(first, second)
        assert not [
            key for key in several if key.startswith(statistic) and "act" in key and "rank=all" in key
        ]
    heads = [key for key in several if key.startswith("attention_entropy_normalized{place=")]
    assert sorted(heads) == sorted(
        f"attention_entropy_normalized{{place=blocks.{block}.attn,{rank}shard={shard}/2}}"
        for block in (0, 1)
        for shard, rank in enumerate(("", "rank=1,"))
    )
    assert not [key for key in several if key.startswith("effective_rank") and "rank=1" in key and "act" not in key
                and "fc1" not in key]  # fmt: skip
    for rank in (0, 1):
        assert several[f"rank_disagreement{{rank={rank}}}"].max() < 10


def test_rows_of_a_sequence_that_is_split_add_up(read: Read) -> None:
    whole, several = read["alone"], read["sequence"]
    together = merged(several)
    compare(together, whole, BETWEEN, "place=blocks.1")
    compare(together, whole, ACTIVE, "mlp.act")
    compare(together, whole, SHOWN, "")
    assert several["n_eff{place=blocks.1,rank=1}"][-1] == together["n_eff{place=blocks.1}"][-1] / 2
