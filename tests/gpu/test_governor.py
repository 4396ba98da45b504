"""On a real device: its own time is measured late and without waiting, and a graph that the user captures is left alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from tests.zoo import feedforward
from torch import nn

from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments
from foreshock.measure.shown import features, logged, policy
from foreshock.measure.site import Clock
from foreshock.measure.sites import new_stopwatch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CYCLES = 20_000_000  # some 10 ms of a device's time


@contextmanager
def no_waiting() -> Iterator[None]:
    """Whatever waits for the device in here raises."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())


def test_what_the_device_does_for_us_is_measured_without_waiting_for_it() -> None:
    torch.cuda._sleep(1000)  # loads
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    torch.cuda._sleep(CYCLES)
    end.record()
    torch.cuda.synchronize()
    expected = begin.elapsed_time(end) / 1e3

    clock = Clock({"activations": 1})
    clock.spending.stopwatch = new_stopwatch(device())
    turn = clock.turns.of("activations", 0)
    with no_waiting():
        with clock.spending:
            clock.spending.bill(turn)
            torch.cuda._sleep(CYCLES)
        assert list(clock.spending.stopwatch.passed()) == []  # it has only just begun
        time.sleep(2 * expected + 0.05)
        ((whose, seconds),) = clock.spending.stopwatch.passed()
    assert whose is turn
    assert seconds + clock.spending.seconds == pytest.approx(expected, rel=0.2, abs=2e-3)


def test_a_governed_run_learns_what_its_records_cost_on_the_device_and_never_waits() -> None:
    rows: list[StepRow] = []
    instruments = Instruments(every={"activations": 1, "features": 1}, budget=None, on_row=rows.append)
    model: nn.Sequential = feedforward.mlp().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    instruments.watch(model, optimizer=optimizer)
    assert instruments.governor is not None
    assert instruments.governor.budget == 1.0
    x, label = feedforward.features(5000).cuda(), torch.zeros(5000, dtype=torch.int64, device="cuda")

    def step(number: int) -> None:
        optimizer.zero_grad()
        logits = model(x)
        loss = nn.functional.cross_entropy(logits, label)
        loss.backward()
        optimizer.step()
        features.show(instruments.sites, "h", logits, labels=label)
        policy.show(instruments.sites, logits, actions=label)
        logged.log(instruments.sites, "loss", loss)
        torch.cuda._sleep(CYCLES)  # the training itself
        instruments.step(number, 0.0)

    step(0)
    with no_waiting():
        for number in range(1, 300):
            step(number)
            time.sleep(0.012)  # so that the device keeps up
    instruments.close(5.0)
    turns = [turn for turn in instruments.sites.clock.turns if turn.records > 2]
    assert {turn.kind for turn in turns} >= {"activations", "features", "policy"}
    assert all(0 < turn.cost < 0.1 for turn in turns)
    assert instruments.governor.used < 300
    assert instruments.level == 1
    assert instruments.memory > 0


def test_a_graph_that_the_user_captures_is_left_alone() -> None:
    rows: list[StepRow] = []
    instruments = Instruments(every={"activations": 1, "features": 1}, on_row=rows.append)
    model = feedforward.mlp(0.0).cuda()
    instruments.watch(model)
    x = feedforward.features(100).cuda()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), torch.no_grad():
        expected = model(x)
    torch.cuda.current_stream().wait_stream(side)
    instruments.step(0, 0.0)
    torch.cuda.synchronize()

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.no_grad():
        captured = model(x)
        features.show(instruments.sites, "h", captured)
        logged.log(instruments.sites, "loss", captured.mean())
        instruments.step(1, 0.0)
    for _ in range(3):
        graph.replay()
    torch.cuda.synchronize()
    assert torch.allclose(captured, expected)
    with torch.no_grad():
        model(x)
    instruments.step(2, 0.0)
    torch.cuda.synchronize()
    instruments.close(5.0)
    read = {row.step for row in rows}
    assert 1 not in read
    assert 2 in read
