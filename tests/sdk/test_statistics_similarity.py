"""Two representations of the same samples, several views of one, and a fixed batch over time: against plain definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sdk.spectra import Matrix
from torch import Tensor

from foreshock.measure.problems.lidar import EPSILON
from foreshock.measure.statistics import agreement, lidar, similarity, views
from foreshock.measure.statistics.rows import Rows, prepare

torch.set_num_threads(1)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(x: Tensor, valid: Tensor | None = None) -> Rows:
    return prepare(x, torch.ones(len(x), dtype=torch.bool) if valid is None else valid)


# -- centred kernel alignment ------------------------------------------------------------------------------------------


def hsic(k: Matrix, m: Matrix) -> float:
    """The unbiased estimate as Song et al. write it: averages over choices of two, three and four different samples."""
    n = len(k)
    two = np.mean([k[i, j] * m[i, j] for i, j in itertools.permutations(range(n), 2)])
    four = np.mean([k[i, j] * m[q, r] for i, j, q, r in itertools.permutations(range(n), 4)])
    three = np.mean([k[i, j] * m[i, q] for i, j, q in itertools.permutations(range(n), 3)])
    return float(two + four - 2 * three)


def cka(x: Matrix, y: Matrix) -> float:
    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize("offset", [0.0, 5.0])
@pytest.mark.parametrize("shape", [(9, 4, 3), (7, 2, 12)])
def test_alignment_is_the_average_over_choices_of_samples(shape: tuple[int, int, int], offset: float) -> None:
    n, d, e = shape
    x = torch.randn(n, d, generator=draw()) * torch.arange(1, d + 1) + offset
    y = x @ torch.randn(d, e, generator=draw(1)) + 0.5 * torch.randn(n, e, generator=draw(2))
    expected = cka(x.double().numpy(), y.double().numpy())
    assert similarity.cka(rows(x), rows(y)).item() == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_independent_features_read_zero_where_the_biased_form_reads_two_thirds() -> None:
    x, y = torch.randn(256, 512, generator=draw()), torch.randn(256, 512, generator=draw(1))
    assert abs(similarity.cka(rows(x), rows(y)).item()) < 0.02
    k, m = ((z - z.mean(0)) @ (z - z.mean(0)).t() for z in (x, y))
    assert (k * m).sum() / (k.norm() * m.norm()) > 0.6


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), power=st.integers(-30, 30), padding=st.integers(0, 9))
def test_alignment_knows_no_scale_turn_shift_or_padding(seed: int, power: int, padding: int) -> None:
    g = draw(seed)
    x, y = torch.randn(30, 6, generator=g), torch.randn(30, 9, generator=g)
    y[:, :6] += x
    turn = torch.linalg.qr(torch.randn(6, 6, generator=g)).Q
    plain = similarity.cka(rows(x), rows(y)).item()
    moved = torch.cat([(x @ turn + 3) * 2.0**power, torch.full((padding, 6), math.nan)])
    longer = torch.cat([y, torch.full((padding, 9), 1e9)])
    valid = torch.arange(30 + padding) < 30
    assert similarity.cka(rows(moved, valid), rows(longer, valid)).item() == pytest.approx(plain, abs=1e-4)
    assert similarity.cka(rows(x), rows(-2 * x @ turn + 1)).item() == pytest.approx(1.0, abs=1e-5)


def test_alignment_of_what_does_not_vary_is_not_a_number() -> None:
    x = torch.randn(20, 4, generator=draw())
    assert similarity.cka(rows(x), rows(torch.ones(20, 4))).isnan()
    assert similarity.cka(rows(x[:3]), rows(x[:3])).isnan()
    assert similarity.cka(rows(x), rows(torch.full((20, 2), math.nan))).isnan()


# -- drift -------------------------------------------------------------------------------------------------------------


def test_drift_is_measured_from_the_first_usable_record() -> None:
    first = torch.randn(40, 6, generator=draw()) + 1
    later = 3 * first @ torch.randn(6, 6, generator=draw(1)) + torch.randn(6, generator=draw(2))
    baseline = similarity.empty(rows(first))
    bad, baseline = similarity.drift(rows(torch.full_like(first, math.nan)), baseline)
    assert bad[:3].isnan().all()
    start, baseline = similarity.drift(rows(first), baseline)
    assert start.tolist() == pytest.approx([1.0, 0.0, 0.0, 40.0], abs=1e-5)
    values, again = similarity.drift(rows(later), baseline)
    a, b = first.double().numpy(), later.double().numpy()
    moved = ((b.mean(0) - a.mean(0)) ** 2).sum() / a.var(0).sum()
    changed = np.linalg.norm(np.cov(b.T) - np.cov(a.T)) / np.linalg.norm(np.cov(a.T))
    alone = similarity.cka(rows(first), rows(later)).item()
    assert values.tolist() == pytest.approx([alone, moved, changed, 40.0], rel=1e-4)
    assert torch.equal(again.centred, baseline.centred)
    middle, _ = similarity.drift(rows(torch.full_like(first, math.inf)), baseline)
    assert middle[:3].isnan().all()
    assert similarity.drift(rows(first), again)[0].tolist() == pytest.approx([1.0, 0.0, 0.0, 40.0], abs=1e-3)


def test_a_batch_of_many_rows_is_compared_on_the_same_few() -> None:
    chosen = similarity.chosen(5000, torch.device("cpu"))
    assert len(chosen) == similarity.ROWS
    assert torch.equal(chosen, similarity.chosen(5000, torch.device("cpu")))
    assert chosen[0] == 0
    assert 4980 < chosen[-1] < 5000
    assert similarity.chosen(7, torch.device("cpu")).tolist() == list(range(7))


# -- two views ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [6, 50])
def test_correlations_across_views_are_as_defined(width: int) -> None:
    a = torch.randn(30, width, generator=draw()) + 2
    b = 3 * a + torch.randn(30, width, generator=draw(1))
    on, off = agreement.correlations(rows(a), rows(b)).tolist()
    c = np.corrcoef(a.double().numpy().T, b.double().numpy().T)[:width, width:]
    assert on == pytest.approx(np.mean((1 - np.diag(c)) ** 2), rel=1e-3)
    assert off == pytest.approx(np.mean(c[~np.eye(width, dtype=bool)] ** 2), rel=1e-3)


def test_rows_that_are_bad_in_one_view_and_dead_dimensions_do_not_count_in_the_other() -> None:
    a, b = torch.randn(30, 6, generator=draw()), torch.randn(30, 6, generator=draw(1))
    plain = agreement.correlations(rows(a), rows(b))
    worse = torch.cat([a, torch.full((4, 6), math.nan)])
    longer = torch.cat([b, torch.full((4, 6), 9.0)])
    assert agreement.correlations(rows(worse), rows(longer)).tolist() == pytest.approx(
        plain.tolist(), rel=1e-3
    )
    dead_a, dead_b = (torch.cat([x, torch.full((30, 3), 2.0)], 1) for x in (a, b))
    assert agreement.correlations(rows(dead_a), rows(dead_b)).tolist() == pytest.approx(
        plain.tolist(), rel=1e-3
    )
    assert agreement.correlations(rows(a), rows(torch.ones(30, 6))).isnan().all()


def test_a_predictor_that_shares_the_eigenvectors_is_aligned() -> None:
    turn = torch.linalg.qr(torch.randn(8, 8, generator=draw())).Q
    z = torch.randn(4000, 8, generator=draw(1)) * torch.arange(1, 9) @ turn.t()
    moment = z.t() @ z / len(z)
    for predictor in (moment, turn @ torch.diag(torch.arange(8.0)) @ turn.t()):
        assert agreement.eigenspaces(rows(z), predictor).item() == pytest.approx(1.0, abs=0.02)
    other = torch.linalg.qr(torch.randn(8, 8, generator=draw(2))).Q
    crossed = agreement.eigenspaces(rows(z), other @ torch.diag(torch.arange(-4.0, 4.0)) @ other.t()).item()
    assert abs(crossed) < 0.7
    f, w = moment.double(), torch.randn(8, 8, generator=draw(3)).double()
    exact = ((f @ w) * (w @ f)).sum() / ((f @ w).norm() * (w @ f).norm())
    assert agreement.eigenspaces(rows(z), w.float()).item() == pytest.approx(exact.item(), abs=1e-5)
    assert agreement.eigenspaces(rows(z), torch.zeros(8, 8)).isnan()


def test_each_view_is_read_as_features_of_its_own_are() -> None:
    a, b = torch.randn(40, 6, generator=draw()), torch.randn(40, 6, generator=draw(1)) + 1
    both, parts = views.measure({"a": a, "b": b}, "v")
    turned, _ = views.measure({"a": b, "b": a}, "v")
    keys = [spec.key for spec in views.series("v")]
    first = dict(zip(keys, both.tolist(), strict=True))
    second = dict(zip(keys, turned.tolist(), strict=True))
    for key, value in first.items():
        other = (
            key.replace("place=v.a", "place=v.?")
            .replace("place=v.b", "place=v.a")
            .replace("place=v.?", "place=v.b")
        )
        assert second[other] == pytest.approx(value, rel=1e-4, abs=1e-6), key
    assert len({part.name for part in parts}) == len(parts) == 4


# -- several views of one sample ---------------------------------------------------------------------------------------


def lidar_of(e: Matrix) -> float:
    """By whitening with an inverse square root, as the paper writes it, of embeddings at their scale there."""
    samples, q, width = e.shape
    e = e - e.mean((0, 1))
    e = e / math.sqrt((e**2).mean())
    means = e.mean(1)
    within = sum(np.outer(v - means[c], v - means[c]) for c in range(samples) for v in e[c]) / (
        samples * (q - 1)
    )
    between = means.T @ means / (samples - 1)
    values, vectors = np.linalg.eigh(within + lidar.DELTA * np.eye(width))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    found = np.linalg.eigvalsh(root @ between @ root).clip(min=0)
    shares = found / found.sum() + EPSILON
    return math.exp(-math.fsum(shares * np.log(shares)))


def lidar_read(x: Tensor, views: int, valid: Tensor | None = None) -> float:
    valid = torch.ones(x.shape[:-1].numel(), dtype=torch.bool) if valid is None else valid
    payload, problem = lidar.lidar(x, valid, views)
    assert len(payload) == problem.size
    (value,) = problem.solve(payload.numpy())
    return value


def embedded(samples: int, q: int, width: int) -> Tensor:
    g = draw()
    own = torch.randn(samples, 1, width, generator=g) * torch.arange(1, width + 1) ** -0.6
    return own + 0.3 * torch.randn(samples, q, width, generator=g) * torch.arange(1, width + 1) ** -0.3


@pytest.mark.parametrize("shape", [(40, 5, 24), (12, 3, 30), (25, 2, 25)])
def test_lidar_agrees_with_the_whitened_form(shape: tuple[int, int, int]) -> None:
    e = embedded(*shape) + 4
    expected = lidar_of(e.double().numpy())
    assert lidar_read(e, shape[1]) == pytest.approx(expected, rel=1e-3)
    assert lidar_read(e.reshape(-1, shape[2]) * 2.0**30, shape[1]) == pytest.approx(expected, rel=1e-3)


def test_lidar_leaves_out_samples_that_lack_a_view() -> None:
    e = embedded(30, 4, 10)
    worse = torch.cat([e, torch.randn(5, 4, 10, generator=draw(1))])
    worse[30:, 2, 0] = math.nan
    assert lidar_read(worse, 4) == pytest.approx(lidar_read(e, 4), rel=1e-3)
    valid = torch.ones(35, 4, dtype=torch.bool)
    valid[30:, 1] = False
    masked = torch.cat([e, torch.full((5, 4, 10), 50.0)])
    assert lidar_read(masked, 4, valid.reshape(-1)) == pytest.approx(lidar_read(e, 4), rel=1e-3)


def test_lidar_of_samples_that_do_not_differ_is_zero() -> None:
    assert lidar_read(torch.full((8, 3, 5), 7.0), 3) == 0.0
    assert lidar_read(torch.zeros(8, 3, 5), 3) == 0.0
    assert math.isnan(lidar_read(torch.full((8, 3, 5), math.nan), 3))
    assert math.isnan(lidar_read(torch.randn(2, 3, 5), 3, torch.tensor([True] * 3 + [False] * 3)))


def test_lidar_of_many_samples_takes_evenly_spaced_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    e = embedded(40, 3, 20)
    monkeypatch.setattr(lidar, "SAMPLES", 10)
    monkeypatch.setattr(lidar, "COLUMNS", 5)
    assert lidar_read(e, 3) == pytest.approx(lidar_read(e[::4][:, :, ::4].contiguous(), 3), rel=1e-5)
