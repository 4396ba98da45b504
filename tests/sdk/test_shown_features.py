"""Features, views and fixed batches as a training loop shows them: what is recorded, and what is answered to what does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from foreshock.guard import faults
from foreshock.measure import spectra as spectra_module
from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments
from foreshock.measure.shown import drift, features, views
from foreshock.measure.statistics import krylov, representation
from foreshock.testing import recording

torch.set_num_threads(1)
C = 3


class Watching(Instruments):
    """Instruments that return a step's readings by series key."""

    def __init__(self, **every: int) -> None:
        self.rows: list[StepRow] = []
        super().__init__(every=every or None, on_row=self.rows.append)

    def readings(self) -> dict[str, float]:
        self.rows.clear()
        self.step(0, 0.0)
        return {
            spec.key: value
            for row in self.rows
            for spec, value in zip(row.frame.series, row.completed().tolist(), strict=True)
        }


@pytest.fixture
def instruments(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watching]:
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    made = Watching(drift=1)
    yield made
    made.close(0)
    assert faults() == {}


def h(rows: int = 24, width: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def test_what_is_given_beside_the_features_is_measured_too(instruments: Watching) -> None:
    labels = torch.arange(24) % C
    classifier = nn.Linear(6, C)
    features.show(
        instruments.sites, "h", h(), labels=labels, classifier=classifier.weight, bias=classifier.bias, teacher=h(24, 9), previous=h(24, 4)
    )  # fmt: skip
    read = instruments.readings()
    for key in (
        "effective_rank{centered=true,place=h}",
        "uniformity{place=h}",
        "vendi_score{place=h}",
        "class_variability_ratio{place=h}",
        "nc1{place=h,weighting=size}",
        "nc3_duality{place=h}",
        "cka{against=teacher,place=h}",
        "cka{against=previous,place=h}",
    ):
        assert math.isfinite(read[key]), key
    features.show(instruments.sites, "h", h())
    assert not any(key.startswith(("nc", "cka", "class")) for key in instruments.readings())


def test_a_teacher_that_is_the_student_is_the_same(instruments: Watching) -> None:
    features.show(instruments.sites, "h", h(), teacher=2 * h() + 1)
    assert instruments.readings()["cka{against=teacher,place=h}"] == pytest.approx(1, abs=1e-5)


def test_views_of_items_may_stand_apart_or_in_a_dimension_of_their_own(instruments: Watching) -> None:
    x = h(24)
    features.show(instruments.sites, "h", x, views=4)
    first = instruments.readings()["lidar{place=h}"]
    assert 1 < first <= 5
    features.show(instruments.sites, "h", x.reshape(6, 4, 6), views=4)
    assert instruments.readings()["lidar{place=h}"] == pytest.approx(first)


def test_the_predictor_of_two_views_is_aligned_with_the_first(instruments: Watching) -> None:
    views.show(instruments.sites, h(), h(seed=1), predictor=torch.eye(6))
    read = instruments.readings()
    assert read["eigenspace_alignment{place=views}"] == pytest.approx(1, abs=1e-5)
    assert {key for key in read if key.endswith("{place=views}")} == {
        f"{name}{{place=views}}"
        for name in ("alignment", "invariance", "cross_redundancy", "eigenspace_alignment")
    }
    assert math.isfinite(read["uniformity{place=views.b}"])


def test_drift_begins_with_the_first_record_and_calls_what_makes_the_batch_only_when_it_is_due() -> None:
    instruments = Watching(drift=2)
    calls = []

    def made() -> Tensor:
        calls.append(torch.is_grad_enabled())
        return h() * len(calls)

    found = []
    for _ in range(5):
        drift.show(instruments.sites, "probe", made)
        found.append(instruments.readings())
    assert calls == [False] * 3
    assert [len(step) for step in found] == [4, 0, 4, 0, 4]
    assert found[0]["covariance_drift{place=probe}"] == pytest.approx(0, abs=1e-6)
    assert found[2]["covariance_drift{place=probe}"] == pytest.approx(3, rel=1e-3)
    assert found[4]["cka{against=baseline,place=probe}"] == pytest.approx(1, abs=1e-5)
    instruments.close(0)


def test_two_batches_have_each_their_own_baseline(instruments: Watching) -> None:
    for scale in (1, 2):
        drift.show(instruments.sites, "a", h() * scale)
        drift.show(instruments.sites, "b", h(40, 3))
        read = instruments.readings()
    assert read["covariance_drift{place=a}"] > 1
    assert read["covariance_drift{place=b}"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda i: features.show(i.sites, "h", h(), classes=C), r"pass labels=\[rows\] too"),
        (
            lambda i: features.show(i.sites, "h", h(), classifier=torch.ones(C, 6)),
            r"pass labels=\[rows\] too",
        ),
        (lambda i: features.show(i.sites, "h", h(), labels=torch.arange(24), classes=1), "pass two or more"),
        (
            lambda i: features.show(i.sites, "h", h(), labels=torch.arange(24), classes=5000),
            "leave classes and classifier out",
        ),
        (
            lambda i: features.show(
                i.sites, "h", h(), labels=torch.arange(24), classes=4, classifier=torch.ones(C, 6)
            ),
            "the classifier has 3 rows; leave classes out",
        ),
        (
            lambda i: features.show(i.sites, "h", h(), labels=torch.arange(24), classifier=torch.ones(6, C)),
            r"pass the last layer's weight, \[classes, 6\]",
        ),
        (
            lambda i: features.show(
                i.sites, "h", h(), labels=torch.arange(24), classifier=torch.ones(C, 6), bias=torch.ones(6)
            ),
            "one number per row of the classifier",
        ),
        (lambda i: features.show(i.sites, "h", h(), teacher=h(5)), r"the same rows, \[24, 'width'\]"),
        (lambda i: features.show(i.sites, "h", h(), previous=None, teacher=[1.0]), "pass a floating tensor"),
        (lambda i: features.show(i.sites, "h", h(), views=5), r"pass \[items, 5, width\]"),
        (lambda i: features.show(i.sites, "h", h().reshape(6, 4, 6), views=3), r"pass \[items, 3, width\]"),
        (lambda i: features.show(i.sites, "h", h(), views=24), "of two items or more"),
        (
            lambda i: views.show(i.sites, h(), h(), predictor=torch.ones(3, 6)),
            r"the weight of a linear predictor, \[6, 6\]",
        ),
        (lambda i: drift.show(i.sites, "d", torch.ones(4)), r"pass \[rows, width\] or"),
        (
            lambda i: (drift.show(i.sites, "d", h()), drift.show(i.sites, "d", h(10))),
            r"d has shape \[10, 6\], at first \[24, 6\]; pass the representation of the same batch",
        ),
    ],
)
def test_what_does_not_fit_is_answered_with_what_to_pass(
    call: Callable[[Watching], object], told: str, instruments: Watching
) -> None:
    with pytest.raises(ValueError, match=told):
        call(instruments)


def test_a_run_takes_them_through_its_public_calls() -> None:
    with recording(every="drift=1") as recorded:
        for _ in range(2):
            recorded.run.observe.features("h", h(), labels=torch.arange(24) % C, classes=C, views=4)
            recorded.run.observe.views(h(), h(seed=1), predictor=torch.eye(6))
            recorded.run.observe.drift("probe", lambda: h())
            recorded.run.step()
        recorded.run.step()
        keys = set(recorded.series())
    for key in (
        "nc1{place=h,weighting=equal}",
        "lidar{place=h}",
        "eigenspace_alignment{place=views}",
        "mean_drift{place=probe}",
    ):
        assert key in keys
    assert faults() == {}


# -- what goes with another reading ------------------------------------------------------------------------------------


def test_the_histogram_comes_with_the_spectrum_every_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    instruments = Watching(features=2, histogram=4)
    found = []
    for _ in range(9):
        features.show(instruments.sites, "h", h(40))
        found.append(sum(key.startswith("spectrum_histogram") for key in instruments.readings()))
    assert found == [64, 0, 0, 0, 64, 0, 0, 0, 64]
    instruments.close(0)


class Wide(nn.Module):
    """Two places whose matrices do not fit into one packet."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, WIDTH)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


WIDTH = krylov.SMALLEST


def test_a_matrix_whose_turn_it_is_not_is_estimated_when_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    monkeypatch.setattr(spectra_module, "PACKET", WIDTH * WIDTH + 2 * WIDTH + 4 + 80_000)
    monkeypatch.setattr(spectra_module, "GRACE", math.inf)  # a busy machine's slow worker changes no turn
    instruments = Watching(activations=1, krylov=1)
    model = Wide()
    instruments.watch(model)
    x = h(WIDTH, WIDTH).requires_grad_()
    found = []
    for _ in range(3):
        model(x)
        read = instruments.readings()
        exact = {
            key.rpartition("place=")[2]
            for key in read
            if key.startswith("effective_rank{centered=true,place")
        }
        estimated = {
            key.rpartition("place=")[2]
            for key in read
            if key.startswith("effective_rank{centered=true,method")
        }
        found.append((len(exact), len(estimated)))
        assert not exact & estimated
    assert found[1:] == [(1, 1), (1, 1)]
    instruments.close(0)


def test_an_activation_without_rows_reads_nothing_and_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    instruments = Watching(activations=1)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    instruments.watch(model)
    model(torch.zeros(0, 4, requires_grad=True))
    read = instruments.readings()
    assert read["n_eff{place=0}"] == 0
    assert math.isnan(read["effective_rank{centered=true,place=0}"])
    model(h(20, 4).requires_grad_())
    assert instruments.readings()["n_eff{place=0}"] == 20
    instruments.close(0)


def test_features_wider_than_is_measured_say_so_in_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    monkeypatch.setattr(representation, "COLUMNS", 8)
    instruments = Watching()
    features.show(instruments.sites, "h", h(30, 20))
    read = instruments.readings()
    assert "effective_rank{centered=true,columns=8,place=h}" in read
    assert "embedding_std{columns=8,place=h}" in read
    views.show(instruments.sites, h(30, 20), h(30, 20))
    assert "redundancy{columns=8,place=views.a}" in instruments.readings()
    instruments.close(0)
