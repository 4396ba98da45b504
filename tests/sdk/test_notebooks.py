"""The notebooks that we ship, executed cell by cell against a server with runs like the demo's."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from tests.sdk.served import Server, Trainer, judge

FOLDER = Path(__file__).parents[2] / "client_sdk" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
STEPS = 400
pytestmark = pytest.mark.slow


def grpo(seed: int, *, collapses: bool) -> np.ndarray:
    """Policy entropy and reward, step by step, as the demo's runs have them."""
    random = np.random.default_rng(seed)
    steps = np.arange(STEPS)
    left = np.exp(-np.maximum(steps - 120, 0) / 70) if collapses else np.ones(STEPS)
    entropy = 0.6 * left * np.exp(random.normal(0, 0.03, STEPS))
    return np.stack([entropy, 0.5 + 0.3 * (1 - np.exp(-steps / 150)) + random.normal(0, 0.01, STEPS)], axis=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("notebooks"))
    for seed in (1, 2, 3, 6):
        trainer = Trainer(server, f"seed-{seed}", project="demo-grpo", name=f"grpo-seed-{seed}")
        trainer.send(0, grpo(seed, collapses=seed == 6))
        trainer.finish()
    judge(server, *(f"seed-{seed}" for seed in (1, 2, 3, 6)))
    yield server
    server.close()


def executed(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Any:
    monkeypatch.setenv("FORESHOCK_URL", server.url)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(FOLDER / name, as_version=4)
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook


def shown(notebook: Any, kind: str = "text/plain") -> str:
    """Everything of one kind that its cells show, and what they print."""
    outputs = [one for cell in notebook.cells if cell.cell_type == "code" for one in cell.outputs]
    assert [one for one in outputs if one.output_type == "error"] == []
    return "\n".join(one.get("text") or one.get("data", {}).get(kind) or "" for one in outputs)


def test_there_are_notebooks_and_they_rest_without_outputs():
    assert NOTEBOOKS == ["first-look.ipynb", "follow.ipynb", "seeds-and-rules.ipynb"]
    for name in NOTEBOOKS:
        notebook = nbformat.read(FOLDER / name, as_version=4)
        nbformat.validate(notebook)
        assert not any(cell.get("outputs") for cell in notebook.cells), name


def test_a_first_look(tmp_path, monkeypatch, server):
    notebook = executed("first-look.ipynb", tmp_path, monkeypatch, server)
    text = shown(notebook)
    assert "grpo-seed-6: finished" in text
    assert "policy-entropy-collapse" in text
    assert (tmp_path / "report.html").stat().st_size > 1_000_000  # plotly.js is in it
    assert '<iframe src="' in shown(notebook, "text/html")
    plots = [
        one
        for cell in notebook.cells
        for one in cell.get("outputs", [])
        if "application/vnd.plotly.v1+json" in one.get("data", {})
    ]
    assert len(plots) == 1


def test_seeds_are_compared_and_a_rule_is_tried(tmp_path, monkeypatch, server):
    text = shown(executed("seeds-and-rules.ipynb", tmp_path, monkeypatch, server))
    assert "0 of 3 healthy runs" in text
    assert "my-entropy-floor" in text
    assert "grpo-seed-3" in text


def test_a_live_run_is_followed_to_its_end(tmp_path, monkeypatch, server):
    trainer = Trainer(server, "goes-on", project="demo-grpo", name="goes-on")
    values = grpo(9, collapses=True)
    trainer.send(0, values[:40])

    def train() -> None:
        for first in range(40, STEPS, 40):
            time.sleep(0.3)
            trainer.send(first, values[first : first + 40])
        judge(server, "goes-on")
        trainer.finish()

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    text = shown(executed("follow.ipynb", tmp_path, monkeypatch, server))
    thread.join()
    assert f"('finished', {STEPS})" in text
    assert "fired: " in text
