"""Norms, largest entries, counts and update ratios of parameters by place, against numpy in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from foreshock.measure.statistics import embedding, parameters, sketch

torch.set_num_threads(1)


def some(seed: int = 0, dtype: torch.dtype = torch.float32) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [[(3, 4), (5,)], [(1,)], [(2, 3, 4), (7, 1), (6,)]]
    return [[torch.randn(*shape, generator=generator).to(dtype) for shape in place] for place in shapes]


def flat(place: list[Tensor]) -> np.ndarray:
    return np.concatenate([tensor.double().numpy().ravel() for tensor in place])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_norms_are_euclidean_per_place_and_over_all(dtype: torch.dtype) -> None:
    places = some(dtype=dtype)
    expected = [np.linalg.norm(flat(place)) for place in places]
    whole = np.linalg.norm(np.concatenate([flat(place) for place in places]))
    assert parameters.norms(places).tolist() == pytest.approx([*expected, whole], rel=1e-5)


def test_a_norm_that_is_not_finite_stays_in_its_place() -> None:
    places = some()
    places[1][0][0] = math.nan
    assert parameters.norms(places).isfinite().tolist() == [True, False, True, False]


def test_counts_are_exact_and_per_place(monkeypatch: pytest.MonkeyPatch) -> None:
    places = some()
    places[0][0][1] = math.inf  # a row of four
    places[2][2][:2] = math.nan
    assert parameters.counts(places).tolist() == [4, 0, 2]
    for chunk in (1, 5, 7):
        monkeypatch.setattr(embedding, "CHUNK", chunk)
        assert parameters.counts(places).tolist() == [4, 0, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_peaks_are_the_largest_absolute_values(dtype: torch.dtype) -> None:
    places = some(dtype=dtype)
    expected = [np.abs(flat(place)).max() for place in places]
    assert parameters.peaks(places).tolist() == pytest.approx([*expected, max(expected)], rel=1e-6)
    places[1][0][0] = math.nan
    assert parameters.peaks(places).isnan().tolist() == [False, True, False, True]


@pytest.mark.parametrize("most", [0, 5, 100])
def test_merging_changes_neither_norms_nor_counts(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    places = some()
    places[2][0][0, 0] = math.inf
    monkeypatch.setattr(parameters, "SMALL_ON_CPU", most)
    few = parameters.merged(places)
    assert sum(map(len, few)) <= sum(map(len, places))
    assert parameters.norms(few)[:2].tolist() == pytest.approx(parameters.norms(places)[:2].tolist())
    assert parameters.counts(few).tolist() == parameters.counts(places).tolist() == [0, 0, 4]


def test_the_root_mean_square_divides_by_the_number_of_values() -> None:
    places = some()
    sizes = torch.tensor([float(sum(t.numel() for t in place)) for place in places])
    squares = [flat(place) ** 2 for place in places]
    expected = [math.sqrt(square.mean()) for square in (*squares, np.concatenate(squares))]
    assert parameters.rms(parameters.norms(places), sizes).tolist() == pytest.approx(expected, rel=1e-5)


def ratios(before: list[list[Tensor]], after: list[list[Tensor]], most: int = 10**6) -> list[float]:
    layout = sketch.layout(before, most)
    by = sketch.Weighing(*torch.tensor(layout.weighing).unbind(0))
    both = [sketch.gather(places, layout) for places in (before, after)]
    return parameters.update_ratios(*both, by).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_update_ratios_are_the_distance_moved_over_the_size_before(dtype: torch.dtype) -> None:
    before, after = some(0, dtype), some(1, dtype)
    moved = [np.linalg.norm(flat(b) - flat(a)) for a, b in zip(before, after, strict=True)]
    size = [np.linalg.norm(flat(place)) for place in before]
    expected = [m / s for m, s in zip(moved, size, strict=True)]
    whole = np.linalg.norm(moved) / np.linalg.norm(size)
    assert ratios(before, after) == pytest.approx([*expected, whole], rel=1e-5)


def test_a_sampled_ratio_weighs_each_place_by_its_size() -> None:
    generator = torch.Generator().manual_seed(0)
    before = [[torch.randn(100, 301, generator=generator)], [torch.randn(40, 5, generator=generator)]]
    after = [[before[0][0] + 0.1], [before[1][0] + 3.0]]
    exact, sampled = ratios(before, after), ratios(before, after, most=2000)
    assert sampled == pytest.approx(exact, rel=0.05)
    assert exact[2] < 0.3 < 2 < exact[1]


def test_nothing_moved_reads_zero_and_moving_from_zero_reads_infinity() -> None:
    zero, one = [[torch.zeros(4)]], [[torch.ones(4)]]
    assert ratios(zero, zero) == [0, 0]
    assert ratios(one, one) == [0, 0]
    assert ratios(zero, one) == [math.inf, math.inf]
