"""Norms, counts and update ratios of parameters by place, against numpy in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from foreshock.measure.statistics import embedding, parameters

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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_update_ratios_are_the_distance_moved_over_the_size_before(dtype: torch.dtype) -> None:
    before, after = some(0, dtype), some(1, dtype)
    moved = [np.linalg.norm(flat(b) - flat(a)) for a, b in zip(before, after, strict=True)]
    size = [np.linalg.norm(flat(place)) for place in before]
    expected = [m / s for m, s in zip(moved, size, strict=True)]
    whole = np.linalg.norm(moved) / np.linalg.norm(size)
    ours = parameters.update_ratios(parameters.samples(before), parameters.samples(after))
    assert ours.tolist() == pytest.approx([*expected, whole], rel=1e-5)


def test_the_sample_is_a_copy_strided_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "COORDINATES", 10)
    weight = torch.arange(60.0).reshape(6, 10)
    (sample,) = parameters.samples([[weight]])
    assert sample.tolist() == [0, 6, 12, 18, 24, 30, 36, 42, 48, 54]
    weight.zero_()
    assert sample[1] == 6
    (whole,) = parameters.samples([[torch.arange(3.0)]])
    assert whole.tolist() == [0, 1, 2]


def test_nothing_moved_reads_zero_and_moving_from_zero_reads_infinity() -> None:
    zero, one = [torch.zeros(4)], [torch.ones(4)]
    assert parameters.update_ratios(zero, zero).tolist() == [0, 0]
    assert parameters.update_ratios(one, one).tolist() == [0, 0]
    assert parameters.update_ratios(zero, one).tolist() == [math.inf, math.inf]
