"""Two processes of one training: what the first decides about an alert happens on both, at one step, in real trainings over gloo."""

from __future__ import annotations

import json
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


def train(kind: str, folder: Path) -> list[dict[str, Any]]:
    """What came of it on each rank."""
    outs = [folder / f"{rank}.json" for rank in (0, 1)]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.zoo.agreeing", kind, str(rank), str(folder / "store"), str(out)], cwd=ROOT, env={**os.environ}
        )
        for rank, out in enumerate(outs)
    ]  # fmt: skip
    try:
        assert [rank.wait(timeout=400) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    return [json.loads(out.read_text(encoding="utf-8")) for out in outs]


@pytest.mark.parametrize("kind", ["both", "second inert", "second fails"])
def test_both_ranks_do_the_same_at_the_same_step(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORESHOCK_STRICT")
    first, second = train(kind, tmp_path)
    assert first["stopped"] is not None
    assert first["stopped"] == second["stopped"]
    assert first["stopped"][0] % 5 == 4  # where agree() was due
    assert first["stopped"][1] == "it dies"
    ((step, value),) = first["coefficients"]
    assert value == 0.02  # the first rank's proposal, not the second's
    assert second["coefficients"] == ([] if kind == "second fails" else [[step, value]])
    assert first["rates"] == second["rates"] == [0.005]
    assert first["recycled"] == second["recycled"] == 16
    assert first["dead"] == second["dead"] == 0
    assert (
        first["weights"] == second["weights"]
    )  # bit for bit: one draw of new weights, one idea of who is dormant
    states = {action: state for _, action, state in second["acted"]}
    assert states.pop("set coefficient") == ("failed" if kind == "second fails" else "applied")
    assert set(states.values()) == {"applied"}
