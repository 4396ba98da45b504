"""On a real device: nothing synchronises, every function can be captured, and what arrives is what the CPU computes."""

from __future__ import annotations

import time

import pytest
import torch
from tests.sdk.device_functions import DEVICE_FUNCTIONS, DeviceFunction
from tests.zoo import feedforward
from torch import nn

from foreshock.config import EVERY
from foreshock.measure.collector import DeviceRing
from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments
from foreshock.measure.shown import features, logged, policy, views
from foreshock.measure.statistics import representation

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
every_function = pytest.mark.parametrize("function", DEVICE_FUNCTIONS, ids=lambda function: function.name)


@every_function
def test_the_device_computes_what_the_host_computes(function: DeviceFunction) -> None:
    given = function.inputs()
    on_device = function.run({name: tensor.cuda() for name, tensor in given.items()})
    for ours, expected in zip(on_device, function.run(given), strict=True):
        if function.name.startswith("representation") and ours is on_device[-1]:
            continue  # payloads may be of the rows or of the centred rows; their ranks are compared below
        assert torch.allclose(ours.cpu(), expected, rtol=1e-3, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("shape", [(300, 64), (40, 96)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_ranks_from_the_device_are_those_of_the_host(shape: tuple[int, int], dtype: torch.dtype) -> None:
    x = (torch.randn(*shape, generator=torch.Generator().manual_seed(0)) + 0.3).to(dtype)
    valid = torch.arange(shape[0]) > 2
    _, host = representation.measure({"x": x, "valid": valid})
    _, device = representation.measure({"x": x.cuda(), "valid": valid.cuda()})
    assert device.problem.solve(device.payload().cpu().numpy()) == pytest.approx(
        host.problem.solve(host.payload().numpy()), rel=1e-3, nan_ok=True
    )


@every_function
def test_no_function_synchronises(function: DeviceFunction) -> None:
    given = {name: tensor.cuda() for name, tensor in function.inputs().items()}
    function.run(given)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        function.run(given)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@every_function
def test_every_function_can_be_captured(function: DeviceFunction) -> None:
    given = {name: tensor.cuda() for name, tensor in function.inputs().items()}
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        expected = [output.clone() for output in function.run(given)]
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = list(function.run(given))
    graph.replay()
    torch.cuda.synchronize()
    for ours, direct in zip(captured, expected, strict=True):
        assert torch.allclose(ours, direct, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_a_training_step_with_every_instrument_on_does_not_synchronise() -> None:
    rows: list[StepRow] = []
    instruments = Instruments(every=dict.fromkeys(EVERY, 1), on_row=rows.append)
    model: nn.Sequential = feedforward.mlp().cuda()
    instruments.watch(model)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    x, label = feedforward.features(5000).cuda(), torch.zeros(5000, dtype=torch.int64, device="cuda")

    def step(number: int) -> None:
        optimizer.zero_grad()
        logits = model(x)
        loss = nn.functional.cross_entropy(logits, label)
        loss.backward()
        optimizer.step()
        policy.show(instruments.sites, logits, actions=label, rewards=torch.ones(8, device="cuda"), groups=4)
        features.show(instruments.sites, "h", logits, labels=label)
        views.show(instruments.sites, logits, logits)
        logged.log(instruments.sites, "loss", loss)
        instruments.step(number, 0.0)

    step(0)  # buffers are made in the first
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(1, 20):
            step(number)
            time.sleep(0.01)  # so that the ring has room
    finally:
        torch.cuda.set_sync_debug_mode("default")
    instruments.close(5.0)
    assert {row.step for row in rows} == set(range(20))
    assert instruments.dropped == 0


def test_the_ring_carries_rows_from_the_device_and_drops_when_the_host_runs_ahead() -> None:
    from foreshock.measure.cuda import CudaPrimitives

    ring: DeviceRing[int] = DeviceRing(CudaPrimitives(torch.device("cuda", torch.cuda.current_device())))
    got: dict[int, list[float]] = {}
    sent = []
    for number in range(300):
        torch.cuda._sleep(2_000_000)  # the device lags behind
        if ring.send([torch.full((3,), float(number), device="cuda")], number, readings=3):
            sent.append(number)
        got.update({note: row.tolist() for note, row in ring.poll()})
    torch.cuda.synchronize()
    got.update({note: row.tolist() for note, row in ring.poll()})
    assert got == {number: [float(number)] * 3 for number in sent}
    assert ring.dropped == 3 * (300 - len(sent))
    assert ring.dropped > 0
