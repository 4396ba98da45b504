"""Singular values of weights: the power method against a decomposition, and the probe that reads them when an optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tests.sdk.spectra import entropy_rank, matrix, singular_values
from tests.zoo.transformers import NanoGPT
from torch import Tensor, nn

from foreshock.config import EVERY
from foreshock.guard import faults
from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments
from foreshock.measure.probes import weights as probe
from foreshock.measure.probes.subject import Subject
from foreshock.measure.problems import weights
from foreshock.measure.statistics import power, product

torch.set_num_threads(1)


def direction(width: int, seed: int = 0) -> Tensor:
    return nn.functional.normalize(torch.randn(width, generator=torch.Generator().manual_seed(seed)), dim=0)


def measured(weight: Tensor, records: int = 1) -> tuple[float, float]:
    found = power.first(weight, direction(weight.shape[1]))
    value = torch.zeros(2)
    for _ in range(records):
        value, found = power.improve(weight, found)
    norm, stable, _ = power.readings(weight, value).tolist()
    return norm, stable


# -- the power method --------------------------------------------------------------------------------------------------

SPECTRA = {
    "isotropic": 0.02,
    "power 0.5": 0.005,
    "power 2.0": 1e-5,
    "spike and power": 1e-5,
    "rank 1": 1e-5,
    "rank 8": 1e-4,
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("turned", [False, True])
def test_the_first_record_is_a_little_below_the_largest_singular_value(name: str, turned: bool) -> None:
    x = matrix(name, 300, 120).float()
    x = x.t().contiguous() if turned else x
    true = singular_values(x)
    norm, stable = measured(x)
    assert true[0] * (1 - SPECTRA[name]) <= norm <= true[0] * (1 + 1e-5)
    assert stable == pytest.approx((true**2).sum() / norm**2, rel=1e-5)


def test_later_records_come_nearer_and_follow_a_weight_that_changes() -> None:
    x = matrix("isotropic", 300, 120).float()
    true = singular_values(x)[0]
    errors = [1 - measured(x, records)[0] / true for records in (1, 4, 30)]
    assert errors[0] > errors[1] > errors[2] > -1e-5
    assert errors[2] < 5e-3
    found = power.first(x, direction(120))
    grown = x + 40 * torch.outer(direction(300, 1), direction(120, 2))
    for _ in range(3):
        value, found = power.improve(grown, found)
    assert value[0].item() == pytest.approx(singular_values(grown)[0], rel=1e-3)


def test_half_precision_is_multiplied_exactly_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "CHUNK", 1000)
    monkeypatch.setattr(product, "CHUNK", 1000)
    x = matrix("power 1.0", 130, 50).to(torch.bfloat16)
    norm, stable = measured(x)
    assert (norm, stable) == pytest.approx(measured(x.float()), rel=1e-4)
    assert norm == pytest.approx(singular_values(x)[0], rel=1e-3)
    gram = product.gram(x).reshape(50, 50)
    y = x.double()
    assert torch.allclose(gram.double(), y.t() @ y / y.square().mean(), rtol=1e-4, atol=1e-4)
    assert torch.allclose(product.gram(x.t()), product.gram(x), rtol=1e-4, atol=1e-4)


def test_a_weight_without_a_direction_keeps_the_old_one() -> None:
    v = direction(6)
    for weight, norm in (
        (torch.zeros(4, 6), 0.0),
        (torch.full((4, 6), math.nan), math.nan),
        (torch.full((4, 6), math.inf), math.nan),
    ):
        assert torch.equal(power.first(weight, v), v)
        value, kept = power.improve(weight, v)
        assert torch.equal(kept, v)
        assert power.readings(weight, value).tolist() == pytest.approx([norm] * 3, nan_ok=True)
    assert measured(torch.full((3, 5), 2.0))[0] == pytest.approx(2 * math.sqrt(15), rel=1e-5)
    assert measured(torch.randn(1, 9))[1] == pytest.approx(1.0, rel=1e-5)


# -- the probe ---------------------------------------------------------------------------------------------------------


class Loop:
    """A model that is trained and watched."""

    def __init__(self, model: nn.Module, **every: int) -> None:
        self.rows: list[StepRow] = []
        self.model = model
        self.instruments = Instruments(every=dict.fromkeys(EVERY, 0) | every, on_row=self.rows.append)
        self.table = self.instruments.watch(model)
        self.optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step(self) -> dict[str, float]:
        """Train once; what was read, by key."""
        for p in self.model.parameters():
            p.grad = torch.full_like(p.detach(), 1e-3)
        self.rows.clear()
        self.optimizer.step()
        self.instruments.step(0, 0.0)
        return {
            spec.key: value
            for row in self.rows
            for spec, value in zip(row.frame.series, row.completed().tolist(), strict=True)
            if spec.statistic.startswith("weight_") and "parameter" in dict(spec.labels)
        }


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    yield
    assert faults() == {}


def test_the_matrices_of_each_block_are_read_when_the_optimizer_steps() -> None:
    model = NanoGPT()
    loop = Loop(model, weights=2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    read = loop.step()
    key = "weight_spectral_norm{parameter=attn.c_attn.weight,place=transformer.h.1}"
    assert read[key] == pytest.approx(
        singular_values(before["transformer.h.1.attn.c_attn.weight"])[0], rel=0.02
    )
    assert not any("wte" in name or "bias" in name or "ln_1" in name for name in read)
    assert len(read) == 3 * sum(1 for name in read if name.startswith("weight_stable_rank"))
    assert loop.step() == {}
    assert set(loop.step()) == set(read)
    lines = [row for row in loop.table.rows if row.kind == "weights"]
    assert {"transformer.h.0", "transformer.h.1"} <= {row.place for row in lines}
    assert sum(row.series for row in lines) == len(read)
    loop.instruments.close(0)


def test_spectra_are_sent_one_matrix_a_step_when_they_are_asked_for() -> None:
    model = nn.Sequential(nn.Linear(80, 64), nn.ReLU(), nn.Linear(64, 96))
    loop = Loop(model, weights=0, weight_spectra=5)
    weight = model[0].weight.detach().clone()
    first = loop.step()
    steps = [loop.step() for _ in range(6)]
    assert set(first) == {f"{name}{{parameter=weight,place=0}}" for name, _ in weights.READINGS}
    assert first["weight_effective_rank{parameter=weight,place=0}"] == pytest.approx(
        entropy_rank(singular_values(weight) ** 2), rel=1e-3
    )
    assert first["weight_tail_exponent{parameter=weight,place=0}"] > 1
    assert [len(step) for step in steps] == [3, 0, 0, 0, 3, 3]
    assert set(steps[0]) == {key.replace("place=0", "place=2") for key in first}
    loop.instruments.close(0)


def test_a_large_model_is_read_at_some_places_and_their_largest_matrices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe, "PLACES", 3)
    monkeypatch.setattr(probe, "MATRICES", 2)
    lines = probe.plan(Subject.of(NanoGPT(layers=6)))
    assert len({line.place for line in lines}) == 3
    assert {line.place for line in lines} >= {"transformer.h.0"}
    assert {line.series for line in lines if line.kind == "weights"} == {6}


def test_patterns_and_shapes_keep_matrices_out() -> None:
    model = nn.ModuleDict(
        {
            "kept": nn.Linear(9, 9),
            "thin": nn.Linear(9, 3),
            "table": nn.Embedding(40, 9),
            "image": nn.Conv2d(4, 8, 3),
            "norm": nn.LayerNorm(9),
        }
    )
    assert {line.place for line in probe.plan(Subject.of(model))} == {"kept", "image"}
    assert {line.place for line in probe.plan(Subject.of(model, exclude=("kept",)))} == {"image"}


class Sharded(nn.Parameter):
    """A parameter of which this rank has one half."""

    def to_local(self) -> Tensor:
        return self.detach()[: len(self) // 2]


def test_a_weight_that_is_spread_over_ranks_is_left_out_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    model[2].weight = Sharded(model[2].weight.detach().clone())
    loop = Loop(model, weights=1)
    assert {key.rpartition("place=")[2] for key in loop.step()} == {"0}"}
    loop.step()
    assert caplog.text.count("spread over ranks") == 1
    loop.instruments.close(0)


def test_the_host_needs_no_scale() -> None:
    x = matrix("power 1.0", 90, 70).float()
    one, other = (weights.Weights(90, 70).solve(product.gram(weight).numpy()) for weight in (x, x * 2.0**50))
    assert np.allclose(one, other, rtol=1e-4)
