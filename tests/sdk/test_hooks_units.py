"""Dormant and dead units: which layers have them, and what they read against the definition."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.zoo import feedforward, huggingface, transformers
from tests.zoo.models import MODELS, loss_of, seeded
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)

from foreshock.config import EVERY
from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments
from foreshock.measure.probes import units as probe
from foreshock.measure.probes.subject import Subject
from foreshock.measure.statistics import units

torch.set_num_threads(1)


def watched(model: nn.Module, rows: list[StepRow]) -> Instruments:
    instruments = Instruments(every=dict.fromkeys(EVERY, 0) | {"units": 1}, on_row=rows.append)
    instruments.watch(model)
    return instruments


def readings(rows: list[StepRow]) -> dict[str, float]:
    return {
        spec.key: value
        for row in rows
        for spec, value in zip(row.frame.series, row.values.tolist(), strict=True)
    }


# -- the definition ---------------------------------------------------------------------------------------------------


def defined(h: np.ndarray) -> list[float]:
    """From all rows at once, those with a number that is not finite left out."""
    good = h[np.isfinite(h).all(1)]
    if 2 * len(good) < len(h) or not len(good):
        return [math.nan] * 4 + [len(good)]
    level = np.abs(good).mean(0)
    shares = [float((level <= tau * level.mean()).mean()) for tau in (0.025, 0.1)]
    return [*shares, float((good == 0).all(0).mean()), zeros(good), len(good)]


def zeros(good: np.ndarray) -> float:
    """Share of the entries, one by one."""
    entries = [float(value) for row in good for value in row]
    return sum(value == 0.0 for value in entries) / len(entries)


def activations(seed: int = 0, rows: int = 40, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(rows, 30, generator=torch.Generator().manual_seed(seed)).relu()
    x[:, 3:7] = 0
    x[:, 8:10] *= 1e-3
    x[:, 12] *= 0.05
    return x.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_shares_of_units(dtype: torch.dtype, scale: float) -> None:
    h = activations(dtype=dtype) * scale
    found = units.shares(*units.activity(h)).tolist()
    assert found == pytest.approx(defined(h.double().numpy()))
    assert found[0] == pytest.approx(6 / 30)
    assert found[1] == pytest.approx(7 / 30)


def test_the_activity_of_parts_adds_up() -> None:
    h = activations()
    whole = units.shares(*units.activity(h)).tolist()
    for sizes in ([10, 30], [1, 2, 37], [40, 0]):
        parts = [units.activity(part) for part in h.split(sizes)]
        assert units.shares(*units.joined(parts)).tolist() == pytest.approx(whole)
    assert units.shares(*units.activity(h[torch.randperm(40)])).tolist() == pytest.approx(whole)


@pytest.mark.parametrize("bad", [0, 1, 19, 21, 40])
@pytest.mark.parametrize("what", [math.nan, math.inf, -math.inf])
def test_rows_that_are_not_finite_do_not_count(bad: int, what: float) -> None:
    h = activations()
    h[:bad, 5] = what
    found = units.shares(*units.activity(h)).tolist()
    assert found == pytest.approx(defined(h.double().numpy()), nan_ok=True)


def test_units_in_degenerate_cases() -> None:
    assert units.shares(*units.activity(torch.zeros(5, 4))).tolist() == [1, 1, 1, 1, 5]
    assert units.shares(*units.activity(torch.ones(1, 4))).tolist() == [0, 0, 0, 0, 1]
    nothing = units.shares(*units.activity(torch.ones(0, 4))).tolist()
    assert nothing == pytest.approx([math.nan] * 4 + [0], nan_ok=True)


# -- the window -------------------------------------------------------------------------------------------------------


def window(rows: int = probe.ROWS) -> probe.Window:
    generator = torch.Generator().manual_seed(0)
    return probe.Window(lambda count, device: torch.rand(count, generator=generator), False)


def test_a_window_grows_to_its_size_and_then_keeps_the_last_full_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "WINDOW", 100)
    measure = window()
    batches = [activations(seed) for seed in range(7)]
    expected = [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4], [3, 4, 5], [3, 4, 5, 6]]
    for batch, seen in zip(batches, expected, strict=True):
        rows = torch.cat([batches[i] for i in seen])
        assert measure([batch]).tolist() == pytest.approx(defined(rows.double().numpy()))


def test_a_large_batch_is_a_window_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "WINDOW", 100)
    measure = window()
    for seed in range(3):
        batch = activations(seed, 300)
        assert measure([batch]).tolist() == pytest.approx(defined(batch.double().numpy()))


def test_of_many_rows_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "ROWS", 200)
    batch = activations(0, 6000).view(20, 300, 30)
    found = window()([batch]).tolist()
    assert found[4] == 200
    expected = defined(batch.view(-1, 30).double().numpy())
    assert found[:3] == pytest.approx(expected[:3])
    assert found[3] == pytest.approx(expected[3], abs=0.02)


def test_a_change_of_width_begins_anew() -> None:
    measure = window()
    measure([activations()])
    assert measure([activations()[:, :20]]).tolist()[4] == 40
    assert measure([torch.zeros(0, 20)]).tolist()[4] == 40


# -- where ------------------------------------------------------------------------------------------------------------


class Mine(nn.Module):
    """One activation for three layers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(10, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc3(self.act(self.fc2(self.act(self.fc1(x)))))
        return y


class Gated(nn.Module):
    """The gate and what it gates in one projection."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_up, self.down = nn.Linear(10, 32), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, -1)
        y: Tensor = self.down(F.silu(gate) * up)
        return y


LAYERS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "mlp": (feedforward.mlp, ["1", "4"]),
    "functional mlp": (feedforward.FunctionalMLP, ["fc2 input", "out input"]),
    "one module for all": (Mine, ["fc2 input", "fc3 input"]),
    "gated": (Gated, ["down input"]),
    "nanogpt": (transformers.NanoGPT, ["transformer.h.0.mlp.1", "transformer.h.1.mlp.1"]),
    "causal lm": (
        transformers.CausalLM,
        ["model.layers.0.down_proj input", "model.layers.1.down_proj input"],
    ),
    "encoder": (transformers.Encoder, ["encoder.layers.0.linear2 input", "encoder.layers.1.linear2 input"]),
    "llama": (huggingface.LlamaForCausalLM, ["model.layers.0.mlp.act_fn", "model.layers.1.mlp.act_fn"]),
    "cnn": (feedforward.simple_cnn, ["1", "3"]),
    "resnet": (feedforward.ResNet, [f"layer{i}.{j}.conv2 input" for i in (1, 2) for j in (0, 1)]),
    "linear": (lambda: nn.Linear(3, 3), []),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_each_hidden_layer_is_found_once(kind: str) -> None:
    make, expected = LAYERS[kind]
    found = probe.layers(Subject.of(make()).modules())
    assert [layer.name + " input" * layer.given for layer in found] == expected


def test_of_many_layers_some_are_watched() -> None:
    model = nn.Sequential(*[layer for _ in range(60) for layer in (nn.Linear(4, 4), nn.ReLU())])
    lines = probe.plan(Subject.of(model))
    assert len(lines) == probe.MOST_PLACES
    assert (lines[0].place, lines[-1].place) == ("1", "119")
    assert len(probe.plan(Subject.of(model, exclude=("1?",)))) == probe.MOST_PLACES
    assert [line.place for line in probe.plan(Subject.of(model, include=("1", "3", "4")))] == ["1", "3"]


@pytest.mark.parametrize("kind", MODELS)
def test_every_layer_of_every_model_is_read(kind: str) -> None:
    make, data = MODELS[kind]
    rows: list[StepRow] = []
    model = seeded(make)
    instruments = watched(model, rows)
    loss_of(model(data())).backward()
    instruments.step(0, 0.0)
    instruments.close(0)
    lines = probe.plan(Subject.of(model))
    values = readings(rows)
    assert lines
    assert len([key for key in values if key.startswith("dead_unit_share")]) == len(lines)
    assert all(math.isfinite(value) for value in values.values())


def test_a_dead_layer_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[StepRow] = []
    model = seeded(lambda: feedforward.mlp(0.0))
    with torch.no_grad():
        model[0].bias[:4] = -100
    instruments = watched(model, rows)
    seen: list[Tensor] = []
    model[1].register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    model(feedforward.features())
    instruments.step(0, 0.0)
    instruments.close(0)
    values = readings(rows)
    expected = defined(seen[0].double().numpy())
    assert values["dormant_unit_share{place=1,tau=0.025}"] == pytest.approx(expected[0])
    assert values["dormant_unit_share{place=1,tau=0.1}"] == pytest.approx(expected[1])
    assert values["dead_unit_share{place=1}"] == pytest.approx(expected[2]) == pytest.approx(4 / 16)
    assert values["zero_activation_share{place=1}"] == pytest.approx(expected[3])
    assert values["unit_samples{place=1}"] == 64


class Mixture(nn.Module):
    """Two experts, each with a nonlinearity of its own; the sign of the first feature chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = x.new_zeros(len(x), 3)
        for number, expert in enumerate(self.experts):
            mine = (x[:, 0] > 0) == bool(number)
            y[mine] = expert(x[mine])
        return y


def test_an_expert_that_passes_hardly_anything_on_is_told_from_the_other() -> None:
    rows: list[StepRow] = []
    model = seeded(Mixture)
    with torch.no_grad():
        model.experts[1][0].bias.fill_(-1.5)
    instruments = watched(model, rows)
    seen: list[Tensor] = []
    for expert in model.experts:
        expert[1].register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    model(torch.randn(200, 6, generator=torch.Generator().manual_seed(0)))
    instruments.step(0, 0.0)
    instruments.close(0)
    values = readings(rows)
    found = [values[f"zero_activation_share{{place=experts.{number}.1}}"] for number in range(2)]
    assert found == pytest.approx([zeros(h.double().numpy()) for h in seen])
    assert found[0] < 0.7
    assert found[1] > 0.9


def test_a_channel_is_a_unit_and_each_position_a_row() -> None:
    rows: list[StepRow] = []
    model = seeded(feedforward.ResNet)
    with torch.no_grad():
        model.layer1[0].bn1.weight[:3] = 0
        model.layer1[0].bn1.bias[:3] = -1
    instruments = watched(model, rows)
    model(feedforward.images())
    instruments.step(0, 0.0)
    instruments.close(0)
    values = readings(rows)
    assert values["dead_unit_share{at=input,place=layer1.0.conv2}"] == pytest.approx(3 / 8)
    assert values["unit_samples{at=input,place=layer1.0.conv2}"] == 5 * 8 * 8


def test_sequences_of_channels_are_read_by_channel() -> None:
    rows: list[StepRow] = []
    model = nn.Sequential(nn.Conv1d(3, 6, 3), nn.ReLU(), nn.Conv1d(6, 4, 3), nn.ReLU())
    with torch.no_grad():
        model[0].bias[:2] = -100
    instruments = watched(model, rows)
    model(torch.randn(5, 3, 10, generator=torch.Generator().manual_seed(0)))
    instruments.step(0, 0.0)
    instruments.close(0)
    values = readings(rows)
    assert values["dead_unit_share{place=1}"] == pytest.approx(2 / 6)
    assert values["unit_samples{place=1}"] == 40


def test_a_rollout_in_inference_mode_leaves_the_window_usable() -> None:
    rows: list[StepRow] = []
    model = seeded(lambda: feedforward.mlp(0.0))
    instruments = watched(model, rows)
    with torch.inference_mode():
        model(feedforward.features())
    instruments.step(0, 0.0)
    loss_of(model(feedforward.features())).backward()
    instruments.step(1, 0.0)
    instruments.close(0)
    assert readings(rows)["unit_samples{place=1}"] == 128
