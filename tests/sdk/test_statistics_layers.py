"""Normalisation layers and value heads: each number against its definition in float64, on ordinary and on hostile input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foreshock.measure.probes.norms import Norm
from foreshock.measure.probes.value_heads import is_value_head
from foreshock.measure.statistics import heads, norms

torch.set_num_threads(1)
NAN, INF = math.nan, math.inf


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stream_by_definition(x: Tensor, axis: int) -> float:
    rows = np.moveaxis(x.double().numpy(), axis, -1).reshape(-1, x.shape[axis])
    good = [row for row in rows if np.isfinite(row).all()]
    if not good or 2 * len(good) < len(rows):
        return NAN
    return math.sqrt(sum(float(value) ** 2 for row in good for value in row) / (len(good) * x.shape[axis]))


def spoilt(rows: int, value: float) -> Tensor:
    x = random(10, 6)
    x[:rows, 2] = value
    return x


STREAMS = {
    "ordinary": (random(4, 7, 6), -1),
    "channels first": (random(3, 6, 4, 5), 1),
    "a vector of values each": (random(5, 6), 1),
    "half precision": (random(4, 7, 64).to(torch.bfloat16) * 30, -1),
    "fp16 whose squares overflow": (random(4, 7, 64).half() * 2000, -1),
    "a huge offset": (random(9, 8) + 1e6, -1),
    "a NaN row": (spoilt(1, NAN), -1),
    "infinite rows": (spoilt(5, INF), -1),
    "mostly bad": (spoilt(6, NAN), -1),
    "zeros": (torch.zeros(4, 3), -1),
    "one row": (random(1, 3), -1),
    "no rows": (torch.zeros(0, 3), -1),
}


@pytest.mark.parametrize("case", STREAMS)
def test_the_stream_s_size_is_its_definition(case: str) -> None:
    x, axis = STREAMS[case]
    assert norms.stream(x, axis).tolist() == pytest.approx(
        [stream_by_definition(x, axis)], rel=2e-6, nan_ok=True
    )


def test_the_stream_s_size_does_not_depend_on_the_order_of_rows_or_on_strides() -> None:
    x = random(64, 8)
    value = norms.stream(x, -1)
    assert norms.stream(x[torch.randperm(64, generator=torch.Generator().manual_seed(1))], -1) == value
    assert norms.stream(x.t(), 0) == pytest.approx(value.item(), rel=1e-6)
    assert norms.stream(torch.stack([x, -x], 1)[:, 0], -1) == pytest.approx(value.item(), rel=1e-6)


GAINS = {
    "ordinary": (random(40), 0.0),
    "adds one": (random(40) * 0.1, 1.0),
    "adds one and cancels it": (torch.full((5,), -1.0), 1.0),
    "some off": (torch.cat([torch.ones(30), torch.full((10,), 0.01)]), 0.0),
    "one enormous": (torch.cat([torch.ones(30), torch.tensor([1e4])]), 0.0),
    "zeros": (torch.zeros(6), 0.0),
    "one": (torch.tensor([-2.0]), 0.0),
    "a NaN": (torch.tensor([1.0, NAN, 1.0, 0.05]), 0.0),
    "mostly NaN": (torch.tensor([1.0, NAN, INF, NAN]), 0.0),
    "half precision": (random(40).to(torch.bfloat16), 0.0),
    "a matrix": (random(4, 5), 0.0),
}


@pytest.mark.parametrize("case", GAINS)
def test_gains_are_read_by_their_definition(case: str) -> None:
    gain, offset = GAINS[case]
    sizes = [abs(value + offset) for value in gain.double().flatten().tolist()]
    good = [size for size in sizes if math.isfinite(size)]
    if 2 * len(good) < len(sizes):
        expected = [NAN, NAN]
    else:
        rms = math.sqrt(sum(size**2 for size in good) / len(good))
        expected = [rms, sum(size <= 0.1 * rms for size in good) / len(good)]
    assert norms.gains(gain, offset).tolist() == pytest.approx(expected, rel=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("variance", "expected"),
    [
        ([1.0, 2.0, 1e-5, 0.0, 1e-4], 0.4),
        ([0.0, 0.0], 1.0),
        ([1.0], 0.0),
        ([NAN, 1.0, 0.0], 0.5),
        ([NAN, NAN, 0.0], NAN),
    ],
)
def test_dead_channels_are_those_whose_variance_is_at_most_eps(
    variance: list[float], expected: float
) -> None:
    assert norms.dead(torch.tensor(variance), 1e-5).tolist() == pytest.approx([expected], nan_ok=True)


def test_a_channel_that_goes_constant_is_found_dead_by_the_layer_s_own_running_variance() -> None:
    layer = nn.BatchNorm1d(4)
    shares = []
    for _ in range(140):
        x = random(32, 4, seed=len(shares))
        x[:, 0] = 3.0
        layer(x)
        shares.append(norms.dead(layer.running_var, layer.eps).item())
    assert shares[0] == 0.0
    assert shares[-1] == 0.25
    assert sorted(shares) == shares


def values_by_definition(x: Tensor) -> list[float]:
    flat = x.double().flatten().tolist()
    good = [value for value in flat if math.isfinite(value)]
    if not good or 2 * len(good) < len(flat):
        return [NAN, NAN]
    centre = sum(good) / len(good)
    spread = math.sqrt(sum((value - centre) ** 2 for value in good) / len(good))
    return [centre, spread if len(good) > 1 else NAN]


@pytest.mark.parametrize(
    "x",
    [
        random(4, 7, 1),
        random(30).to(torch.bfloat16),
        random(30) * 0.01 + 1000.0,
        torch.full((6,), 2.5),
        torch.tensor([1.0, NAN, 3.0, INF]),
        torch.tensor([1.0, NAN, NAN, INF]),
        torch.tensor([4.0]),
        torch.zeros(0, 1),
    ],
    ids=["ordinary", "half precision", "offset", "constant", "two bad", "mostly bad", "one", "none"],
)
def test_values_are_read_by_their_definition(x: Tensor) -> None:
    assert heads.values(x).tolist() == pytest.approx(values_by_definition(x), rel=1e-4, abs=1e-7, nan_ok=True)


class GemmaRMSNorm(nn.Module):
    """Multiplies by one more than its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6))


@pytest.mark.parametrize(
    ("layer", "x", "expected"),
    [
        (nn.LayerNorm(6), random(5, 6), 3),
        (nn.LayerNorm(6, elementwise_affine=False), random(5, 6), 1),
        (nn.BatchNorm2d(6), random(5, 6, 3, 3), 4),
        (nn.BatchNorm2d(6, affine=False), random(5, 6, 3, 3), 2),
        (nn.BatchNorm1d(6, track_running_stats=False), random(5, 6), 3),
        (nn.GroupNorm(2, 6), random(5, 6, 3), 3),
        (GemmaRMSNorm(), random(5, 6), 3),
    ],
    ids=[
        "layer",
        "layer without gains",
        "batch",
        "batch without gains",
        "batch, not tracked",
        "group",
        "gemma",
    ],
)
def test_what_a_layer_has_is_what_is_read_of_it(layer: nn.Module, x: Tensor, expected: int) -> None:
    norm = Norm(layer)
    shown, trained = norm.pick(layer, (x,), {})
    row = norm.measure([tensor.detach() for tensor in shown]).tolist()
    assert len(row) == len(norms.series("n", gained=norm.gained, tracked=norm.tracked)) == expected
    assert row[0] == pytest.approx(stream_by_definition(x, 1 if x.shape[1] == 6 else -1), rel=1e-6)
    if norm.gained:
        assert row[1:3] == [1.0, 0.0]  # also of the layer whose weights are zero and that adds one
        assert trained
    assert norm.pick(layer, (), {"hidden_states": x})[0][0] is x


@pytest.mark.parametrize(
    ("name", "outputs", "expected"),
    [
        ("value_head", 1, True),
        ("v_head.summary", 1, True),
        ("critic.4", 1, True),
        ("score", 1, True),
        ("qf1.fc3", 1, True),
        ("model.value_net", 1, True),
        ("critic.4", 2, False),
        ("bert.encoder.layer.0.attention.self.value", 24, False),
        ("classifier", 1, False),
        ("evaluate", 1, False),
    ],
)
def test_a_value_head_is_known_by_its_name_and_its_one_output(
    name: str, outputs: int, expected: bool
) -> None:
    assert is_value_head(name, nn.Linear(3, outputs)) is expected
