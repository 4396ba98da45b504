"""What is kept about a run: any config as JSON, the commit, the machine; and no generator of the training is touched."""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreshock.provenance import DEEPEST, WIDEST, facts, git_facts, json_safe, place_in_job, readable_name


@dataclass
class Inner:
    rate: float = 1e-5
    path: Path = Path("a/b")


@dataclass
class Outer:
    inner: Inner = field(default_factory=Inner)
    layers: tuple[int, ...] = (1, 2)


class Strange:
    def __repr__(self) -> str:
        raise RuntimeError("not today")


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        (Outer(), {"inner": {"rate": 1e-05, "path": "a/b"}, "layers": [1, 2]}),
        (
            argparse.Namespace(lr=np.float32(0.5), n=np.int64(3), on=np.bool_(True)),
            {"lr": 0.5, "n": 3, "on": True},
        ),
        (
            {"nan": math.nan, "up": math.inf, "down": -math.inf},
            {"nan": "NaN", "up": "Infinity", "down": "-Infinity"},
        ),
        ({1: "a", None: "b", (1, 2): "c"}, {"1": "a", "None": "b", "(1, 2)": "c"}),
        ({"huge": 10**30, "text": "half\ud800 zero\0"}, {"huge": str(10**30), "text": "half? zero\ufffd"}),
        ({"type": int, "strange": Strange()}, {"type": "<class 'int'>", "strange": "<Strange>"}),
        ({"complex": 1j, "bytes": b"x"}, {"complex": "1j", "bytes": "b'x'"}),
        ([1, {2}], [1, [2]]),
    ],
)
def test_any_config_becomes_json(config: Any, kept: Any) -> None:
    found = json_safe(config)
    assert found == kept
    json.dumps(found, allow_nan=False)


def test_a_config_that_holds_itself_or_a_million_things_stays_small() -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    assert json.dumps(json_safe(loop)).count("self") <= DEEPEST + 1
    assert len(json_safe(list(range(10**6)))) == WIDEST


def test_the_name_comes_from_the_id_and_from_no_generator() -> None:
    random.seed(3)
    np.random.seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist()
    names = {readable_name(uuid.uuid4()) for _ in range(200)}
    assert len(names) > 190
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    identity = uuid.UUID(int=12345)
    assert readable_name(identity) == readable_name(identity)


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8"}, (3, 8)),
        ({"RANK": "x"}, (0, 1)),
        ({"RANK": "9", "WORLD_SIZE": "8"}, (0, 1)),
    ],
)
def test_rank_and_world_size_come_from_the_environment(
    environ: dict[str, str], place: tuple[int, int]
) -> None:
    assert place_in_job(environ) == place


def test_the_facts_are_json_and_name_machine_and_versions() -> None:
    found = json.loads(json.dumps(facts(2, 4)))
    assert {"host", "python", "argv", "user_agent", "pid", "foreshock"} <= set(found)
    assert (found["rank"], found["world_size"]) == (2, 4)
    assert found["user_agent"].startswith("foreshock/")


def test_torch_is_named_only_where_it_is_loaded() -> None:
    code = "import sys; from foreshock.provenance import facts; sys.exit('torch' in facts(0, 1) or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_named_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    assert git_facts(tmp_path) == {}
    git(tmp_path, "init", "-q")
    assert git_facts(tmp_path) == {}
    (tmp_path / "train.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    assert git_facts(tmp_path) == {"git_commit": git(tmp_path, "rev-parse", "HEAD"), "git_dirty": False}
    (tmp_path / "notes.txt").write_text("untracked files change no training")
    assert git_facts(tmp_path)["git_dirty"] is False
    (tmp_path / "train.py").write_text("2")
    assert git_facts(tmp_path)["git_dirty"] is True


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_facts(tmp_path) == {}
