"""The fused kernels on a real device: as exact as float64 asks, without a copy of the logits, and faster than the eager pass."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tests.sdk.fused_cases import CASES, Case, eager

from foreshock.measure.statistics import fused, tokens
from foreshock.measure.statistics.fused import launch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
VOCABULARY = 151_936


def on_device(case: Case) -> Case:
    moved = {
        name: None if (value := getattr(case, name)) is None else value.cuda()
        for name in ("logits", "other", "rows", "actions")
    }
    return Case(**moved, squares=case.squares, sizes=case.sizes, nucleus=case.nucleus)


@pytest.mark.parametrize("name", CASES)
def test_the_device_reads_what_the_host_reads(name: str) -> None:
    case = on_device(CASES[name])
    assert fused.suits(case.logits)
    found, expected = eager(case).cpu(), eager(CASES[name])
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.allclose(found, expected, rtol=4e-6, atol=8e-6, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("offset", [0.0, 200.0])
def test_entropy_and_divergence_are_exact_to_a_hundred_thousandth_of_a_nat(
    dtype: torch.dtype, offset: float
) -> None:
    g = torch.Generator("cuda").manual_seed(0)
    p = (torch.randn(64, VOCABULARY, generator=g, device="cuda") * 2.8 + offset).to(dtype)
    q = (p.float() + torch.randn(64, VOCABULARY, generator=g, device="cuda") * 0.3).to(dtype)
    p[:, VOCABULARY // 2 :] = -math.inf
    logp, logq = p.double().log_softmax(1), q.double().log_softmax(1)
    possible = logp != -math.inf
    entropy = -torch.where(possible, logp.exp() * logp, 0.0).sum(1)
    distance = torch.where(possible, logp.exp() * (logp - logq), 0.0).sum(1)
    assert (tokens.scan(p)[0] - entropy).abs().max() <= 1e-5
    assert (tokens.divergence(p, q) - distance).abs().max() <= 2e-5


def test_a_kernel_makes_no_copy_does_not_wait_and_can_be_captured() -> None:
    logits = torch.randn(256, VOCABULARY, device="cuda", dtype=torch.bfloat16)
    actions = torch.arange(256, device="cuda")
    expected = tokens.scan(logits, squares=True, actions=actions)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    torch.cuda.set_sync_debug_mode("error")
    try:
        tokens.scan(logits, squares=True, actions=actions)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.cuda.max_memory_allocated() - before < 1 << 20
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = tokens.scan(logits, squares=True, actions=actions)
    graph.replay()
    assert torch.allclose(captured, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_kernel_is_faster_than_the_eager_pass(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(2048, VOCABULARY, device="cuda").to(dtype)
    one_read = milliseconds(lambda: tokens.scan(logits, squares=True))
    monkeypatch.setattr(launch, "_off", True)
    eager = milliseconds(lambda: tokens.scan(logits, squares=True))
    print(f"2048 x {VOCABULARY} {dtype}: fused {one_read:.2f} ms, eager {eager:.2f} ms")
    assert one_read < eager / 2


def milliseconds(work: Callable[[], object]) -> float:
    """The least of ten, by the device's own clock."""
    times = []
    for _ in range(12):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return min(times[2:])
