"""Ranks that train shares of a batch read, merged by the server, what one process reads on the whole batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch.distributed
from tests.topology import ranks
from tests.topology.processes import Server
from tests.zoo.parallel import STEPS

from foreshock.query.client import Client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not torch.distributed.is_available(), reason="this torch was built without distributed"
    ),
]


# Sums, extremes, norms of parts and means by rows are exact; a spread or a cosine averaged over ranks is not, and is not here.
EXACT = (
    "advantage_positive",
    "advantage_zero",
    "clip_bucket",
    "clip_cell",
    "clip_dual",
    "clip_high",
    "clip_low",
    "dead_unit_share",
    "dormant_unit_share",
    "entropy_change_cell",
    "entropy_change_lowering",
    "entropy_change_predicted",
    "entropy_change_raising",
    "gradient_max",
    "gradient_norm",
    "gradient_zero_share",
    "group_reward_max",
    "group_reward_min",
    "group_reward_p10",
    "group_reward_p50",
    "group_reward_p90",
    "group_reward_std",
    "importance_ratio_max",
    "importance_ratio_mean",
    "kl_old_k1",
    "kl_old_k3",
    "n_eff",
    "nonfinite_count",
    "pass_at",
    "policy_entropy",
    "policy_lse",
    "policy_sequences",
    "policy_tokens",
    "policy_top1",
    "policy_varentropy",
    "reward_mean",
    "sequence_ratio_max",
    "sequence_ratio_mean",
    "solved_by_any",
    "spark_count",
    "unit_samples",
    "weight_norm",
    "zero_activation_share",
    "zero_variance_groups",
)
REPLICATED = (
    "gradient_cosine",
    "gradient_norm_ratio",
    "gradient_rank",
    "update_ratio",
    "weight_spectral_norm",
    "weight_spectral_residual",
    "weight_stable_rank",
)  # what each rank of DDP reads of the same averaged gradients


def train(kind: str, world: int, server: Server, folder: Path, faulty: int = -1) -> None:
    """All ranks, to their end."""
    ranks.train("tests.zoo.parallel", kind, world, server, folder, str(faulty))


def columns(server: Server, run: str) -> dict[str, np.ndarray]:
    """Every series of a run by key, once the merger has caught up."""
    return ranks.columns(server, run, "policy_entropy{rank=all}", STEPS - 1)


def test_merged_numbers_are_those_of_one_process(server: Server, tmp_path: Path) -> None:
    train("alone", 1, server, tmp_path)
    whole = columns(server, "alone")
    for kind in ("ddp", "fsdp2"):
        train(kind, 2, server, tmp_path)
        compare(kind, columns(server, kind), whole)


def compare(kind: str, several: dict[str, np.ndarray], whole: dict[str, np.ndarray]) -> None:
    """What the ranks read together, and one process by itself."""
    merged = {ranks.apart(key): values for key, values in several.items() if "rank=all" in key}
    for statistic in (*EXACT, *(REPLICATED if kind == "ddp" else ())):
        keys = [key for key in merged if key.split("{")[0] == statistic]
        assert keys, statistic
        for key in keys:
            np.testing.assert_allclose(merged[key], whole[key], rtol=2e-4, atol=2e-5, err_msg=key)


def test_a_silently_faulty_rank_is_named(server: Server, tmp_path: Path) -> None:
    train("ddp", 3, server, tmp_path, faulty=1)
    several = columns(server, "ddp")
    wrong = several["rank_disagreement{rank=1}"]
    assert wrong[:14].max() < 10
    assert np.median(wrong[14:]) > 10
    for rank in (0, 2):
        assert several[f"rank_disagreement{{rank={rank}}}"].max() < 10
    alerts = Client(server.url).run("ddp").alerts()
    assert any(alert["rule"] == "faulty-rank" and "rank=1" in alert["series"] for alert in alerts)
