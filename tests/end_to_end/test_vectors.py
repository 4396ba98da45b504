"""Per-head and per-expert statistics and logged arrays are one series each, from the training loop to notebook and figure."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.topology.processes import Server

import foreshock
from foreshock.query.client import Client, RunView

STEPS, EXPERTS, HEADS = 30, 8, 4


def train(server: Server, spool: Path) -> np.ndarray:
    """A run with a router that starves one expert, attention, and a histogram; what the histogram was."""
    random = torch.Generator().manual_seed(0)
    counts = np.random.default_rng(0).integers(0, 100, (STEPS, 5))
    run = foreshock.init(project="vectors", run="vectors", url=server.url, dir=spool, budget=0.0)
    for step in range(STEPS):
        logits = torch.randn(256, EXPERTS, generator=random)
        logits[:, 3] -= 100.0
        run.observe.router("moe.0", logits, top_k=1)
        q = torch.randn(2, HEADS, 16, 8, generator=random)
        run.observe.attention("attn.0", q, q, causal=True)
        run.log(lengths=counts[step], norms=torch.arange(3) * step, loss=1.0 / (1 + step))
        run.step()
    run.finish()
    assert run.lost == {}
    return counts


def arrived(server: Server) -> RunView:
    view = Client(server.url).run("vectors")
    until = time.monotonic() + 60
    while view.refresh().last_step != STEPS - 1:
        assert time.monotonic() < until, "the run did not arrive"
        time.sleep(0.1)
    return view


@pytest.mark.slow
def test_a_vector_is_one_series_from_the_loop_to_the_notebook(server: Server, tmp_path: Path) -> None:
    counts = train(server, tmp_path / "spool")
    view = arrived(server)
    axes = {one["key"]: one["axis"] for one in view.series_list() if one["axis"]}
    assert axes == {
        "expert_load{place=moe.0}": {"name": "expert", "size": EXPERTS},
        "attention_entropy_normalized{place=attn.0}": {"name": "head", "size": HEADS},
        "attention_logit_max{place=attn.0}": {"name": "head", "size": HEADS},
        "lengths": {"name": "entry", "size": 5},
        "norms": {"name": "entry", "size": 3},
    }
    assert not any("head=" in one["key"] or "expert=" in one["key"] for one in view.series_list())
    np.testing.assert_array_equal(view.series("lengths").values, counts)
    np.testing.assert_array_equal(view.series("norms").values, np.outer(np.arange(STEPS), np.arange(3)))
    load = view.series("expert_load").values
    assert load.shape == (STEPS, EXPERTS)
    assert (load[:, 3] == 0).all()
    np.testing.assert_allclose(load.sum(1), 1.0, rtol=1e-5)
    heads = view.series("attention_entropy_normalized{place=attn.0}").to_pandas()
    means = view.series("attention_entropy_normalized{heads=mean,place=attn.0}").values
    np.testing.assert_allclose(heads[[f"head {h}" for h in range(HEADS)]].mean(axis=1), means, rtol=1e-4)
    figures = {one["name"] for one in view.figures()}
    assert {"entries.expert_load", "entries.attention_entropy_normalized", "entries.lengths"} <= figures
    drawn = view.figure("entries.expert_load")
    assert np.shape(drawn.data[0].z) == (EXPERTS, STEPS)
