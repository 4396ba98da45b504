"""The whole demo, as a new user runs it: the collapsing run alerts, its twin does not, nothing is lost."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.demo,
    pytest.mark.skipif(
        os.environ.get("FORESHOCK_TEST_DEMO") != "1", reason="set FORESHOCK_TEST_DEMO=1: takes minutes"
    ),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "foreshock", "demo", "--exit", "--json", "out.json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return dict(json.loads((folder / "out.json").read_text()))


def test_the_collapsing_run_alerts_early_and_the_twin_does_not(told: dict[str, Any]) -> None:
    collapse, twin = told["runs"]["collapse"], told["runs"]["twin"]
    assert collapse["alert_step"] is not None
    assert 0.2 < collapse["entropy"]["at_alert_over_baseline"] < 1.0
    assert collapse["entropy"]["last"] < 0.5 * collapse["entropy"]["first"], "it must truly collapse"
    assert twin["alert_step"] is None
    assert twin["other_alerts"] == []


@pytest.mark.parametrize("which", ["collapse", "twin"])
def test_nothing_is_lost_and_all_is_counted(told: dict[str, Any], which: str) -> None:
    run = told["runs"][which]
    assert run["points"]["sent"] == run["points"]["stored"] > 0
    assert run["points"]["dropped"] == 0
    assert run["faults"] == {}
    assert math.isfinite(run["overhead_percent"])
    assert 0 < run["reward"]["after"] <= 1


def test_every_message_was_delivered_and_its_signature_verified(told: dict[str, Any]) -> None:
    sent = told["runs"]["collapse"]["deliveries"]
    assert sent["attempted"] == sent["delivered"] == sent["received"] == sent["signature_verified"] > 0
