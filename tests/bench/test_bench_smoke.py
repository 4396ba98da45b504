"""The bench runs by the command that people type, and its file has the shape that they read."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FIELDS = {"what", "unit", "better", "subject", "p50", "p99", "min", "max", "runs"}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.bench", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def logits(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What a quick run of the cheapest area prints, and its file."""
    out = tmp_path_factory.mktemp("bench")
    done = bench("logits", "--quick", "--out", str(out))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((out / "logits.json").read_text())


def test_a_file_says_machine_and_date_and_one_row_per_subject(logits: tuple[str, dict[str, Any]]) -> None:
    _, written = logits
    assert set(written) == {"machine", "date", "rows"}
    assert written["machine"]["cores"] >= 1
    for row in written["rows"]:
        assert set(row) == FIELDS
        assert row["better"] in ("lower", "higher")
        if isinstance(row["p50"], float):
            assert row["min"] <= row["max"]
            assert row["p50"] <= row["p99"]
    by_what: dict[str, list[str]] = {}
    for row in written["rows"]:
        by_what.setdefault(row["what"], []).append(row["subject"])
    for subjects in by_what.values():
        assert subjects[0] == "foreshock"
        assert len(set(subjects)) == len(subjects) == 5


def test_the_ratios_of_every_pair_are_printed_last(logits: tuple[str, dict[str, Any]]) -> None:
    said, written = logits
    table = said[said.index("ratios, ours / rival") :]
    assert all(row["what"] in table for row in written["rows"])
    assert table.count("foreshock / verl formula ") >= 1


def test_an_impossible_token_breaks_the_others_and_is_written_as_nan(
    logits: tuple[str, dict[str, Any]],
) -> None:
    _, written = logits
    errors = {
        row["subject"]: row["p50"]
        for row in written["rows"]
        if "impossible" in row["what"] and "bfloat16" in row["what"]
    }
    assert errors["TRL formula"] == "NaN"
    assert errors["foreshock"] < 1e-5


def test_the_built_in_rules_are_run_over_drawn_series_and_real_trainings(tmp_path: Path) -> None:
    done = bench("detection", "--quick", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "detection.json").read_text())["rows"]
    found = {
        row["what"]: row["p50"] for row in rows if row["subject"] == "foreshock" and row["unit"] == "share"
    }
    drawn = {what: share for what, share in found.items() if not what.startswith("trainings")}
    assert len(drawn) == 6
    assert any(share == 1.0 for what, share in drawn.items() if what.startswith("collapses"))
    assert found["trainings, all: collapsing runs with an alarm of their family"] == 1.0
    assert {row["subject"] for row in rows if row["what"].startswith("trainings, all: healthy runs")} == {
        "foreshock",
        "foreshock, warnings too",
        "level, tuned",
        "EWMA, λ=0.2 L=3",
        "CUSUM, k=0.5 h=5",
    }


def test_an_unknown_area_is_refused_with_the_ones_that_exist() -> None:
    done = bench("entropy")
    assert done.returncode == 2
    assert "overhead, logits, store, reading, detection, alerts, page" in done.stderr


def test_a_rival_that_will_not_install_is_a_row_with_the_reason(tmp_path: Path) -> None:
    ask = (
        "from tests.bench.report import Measure\n"
        "from tests.bench import rivals\n"
        "from tests.bench.turns import rival, turns\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        "import json\n"
        "rivals.PACKAGES['nobody'] = ['./there-is-no-such-folder']\n"
        "m = Measure('log', 'us', 'lower')\n"
        "with turns(m) as taking:\n"
        f"    taking.enter('nobody', partial(rival, 'nobody', 'log_steps.py', Path({str(tmp_path)!r})))\n"
        "print(json.dumps(m.rows()[0]))\n"
    )
    environment = {**os.environ, "PEERS_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    row = json.loads(done.stdout.splitlines()[-1])
    assert set(row) == FIELDS | {"reason"}
    assert (row["subject"], row["runs"], row["p50"]) == ("nobody", 0, None)
    assert "will not install" in row["reason"]


def test_quantiles_and_ratios_are_what_they_are_called() -> None:
    ask = (
        "from tests.bench.report import Measure, quantile\n"
        "import json, math\n"
        "m = Measure('x', 'ms', 'lower')\n"
        "for ours, theirs in ((1.0, 2.0), (2.0, 8.0), (3.0, 3.0)):\n"
        "    m.add('foreshock', [ours] * 3); m.add('rival', theirs)\n"
        "print(json.dumps([m.ratios(), quantile([4.0, 1.0, 3.0, 2.0], 0.5), m.rows()[0],\n"
        "    math.isnan(quantile([1.0, math.nan], 0.5))]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    ratios, middle, row, nan_is_news = json.loads(done.stdout)
    assert ratios == [["foreshock", "rival", [0.5, 0.25, 1.0]]]
    assert math.isclose(middle, 2.5)
    assert (row["p50"], row["min"], row["max"], row["runs"]) == (2.0, 1.0, 3.0, 3)
    assert nan_is_news
