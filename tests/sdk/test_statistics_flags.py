"""What a reader must be able to see of a reading that is not what it seems: each of the eight conditions, where it shows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.sdk.spectra import matrix
from torch import Tensor, nn

from foreshock.measure.problems.krylov import Krylov
from foreshock.measure.statistics import curvature, power, representation
from foreshock.series import SeriesSpec

torch.set_num_threads(1)


def read(x: Tensor, valid: Tensor | None = None) -> dict[str, float]:
    """All that is read of some rows."""
    given = {"x": x, "valid": torch.ones(len(x), dtype=torch.bool) if valid is None else valid}
    values, product = representation.measure(given)
    finished = product.problem.solve(product.payload().numpy())
    specs = [*representation.series("h"), *representation.finished_series("h")]

    def name(spec: SeriesSpec) -> str:
        rest = [f"{label}={value}" for label, value in spec.labels]
        return spec.statistic + (f"{{{','.join(rest)}}}" if rest else "")

    return dict(zip(map(name, specs), [*values.tolist(), *finished], strict=True))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


RANKS = ("effective_rank", "participation_ratio", "stable_rank", "effective_rank_sigma")


def test_empty_shows_in_the_count_and_few_rows_do() -> None:
    for rows in (0, 1):
        found = read(drawn(6, 4), torch.arange(6) < rows)
        assert found["n_eff"] == rows
        assert all(math.isnan(found[f"{name}{{centered=true}}"]) for name in RANKS)


def test_rows_that_are_not_finite_show_in_two_counts_and_more_than_half_of_them_are_no_reading() -> None:
    x = drawn(8, 4)
    x[0, 1], x[1] = math.nan, math.inf
    found = read(x)
    assert (found["n_eff"], found["nonfinite_count{tensor=activation}"]) == (6, 5)
    whole = read(x[2:])
    for name in RANKS:
        assert found[f"{name}{{centered=true}}"] == pytest.approx(whole[f"{name}{{centered=true}}"], rel=1e-5)
    x[2:5] = math.nan
    assert all(math.isnan(read(x)[f"{name}{{centered=true}}"]) for name in RANKS)


def test_zero_is_a_rank_that_nothing_else_has() -> None:
    assert all(read(torch.zeros(8, 4))[f"{name}{{centered=false}}"] == 0 for name in RANKS)
    assert all(read(torch.ones(8, 4))[f"{name}{{centered=true}}"] == 0 for name in RANKS)
    assert min(read(drawn(8, 4) * 1e-30)[f"{name}{{centered=true}}"] for name in RANKS) >= 1


# -- not converged -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["isotropic", "power 0.5", "power 2.0", "spike and power", "rank 8"])
@pytest.mark.parametrize("records", [1, 5])
def test_a_singular_value_that_is_not_found_yet_shows_in_the_residual(name: str, records: int) -> None:
    weight = matrix(name, 300, 120).float()
    v = power.first(weight, nn.functional.normalize(drawn(120), dim=0))
    for _ in range(records):
        kept = v
        found, v = power.improve(weight, kept)
    row = power.readings(weight, found)
    # The twin: the same two steps in float64, and the residual of the last direction that was improved.
    y = weight.double().numpy()
    last = kept.double().numpy()
    for _ in range(power.ITERATIONS - 1):
        last = y.T @ (y @ last)
        last /= np.linalg.norm(last)
    theta = float(np.linalg.norm(y @ last) ** 2)
    expected = float(np.linalg.norm(y.T @ (y @ last) - theta * last)) / theta
    assert row[2].item() == pytest.approx(expected, rel=1e-2, abs=2e-6)
    # What it promises: some eigenvalue lies within it.
    eigenvalues = np.linalg.eigvalsh(y.T @ y)
    assert np.abs(eigenvalues - theta).min() <= expected * theta * (1 + 1e-9) + 1e-9 * theta


def test_the_residual_falls_as_the_singular_value_is_found() -> None:
    weight = matrix("isotropic", 300, 120).float()
    v = power.first(weight, nn.functional.normalize(drawn(120), dim=0))
    told = []
    for _ in range(60):
        found, v = power.improve(weight, v)
        told.append(found[1].item())
    assert told[0] > 0.01
    assert told[-1] < 0.5 * told[0]


@pytest.mark.parametrize("steps", [3, 10, 40])
def test_a_sharpness_that_is_not_found_yet_shows_in_its_residual(steps: int) -> None:
    rng = np.random.default_rng(3)
    basis, _ = np.linalg.qr(rng.normal(size=(80, 80)))
    values = np.concatenate([[5.0, 4.0, -2.0], rng.exponential(0.5, 77)])
    hessian = (basis * values) @ basis.T
    start = drawn(80)
    top, _, apart = curvature.measure(
        lambda v: torch.from_numpy(hessian @ v.double().numpy()).float(), start, steps
    ).tolist()
    # The twin: Lanczos in float64 with all of its vectors, and ‖H v − θ v‖ of the vector itself.
    vectors: list[np.ndarray] = []
    next_v = start.double().numpy()
    for _ in range(steps):
        for one in vectors * 2:
            next_v = next_v - (one @ next_v) * one
        next_v = next_v / np.linalg.norm(next_v)
        vectors.append(next_v)
        next_v = hessian @ next_v
    krylov = np.stack(vectors, 1)
    small, found = np.linalg.eigh(krylov.T @ hessian @ krylov)
    vector = krylov @ found[:, -1]
    expected = np.linalg.norm(hessian @ vector - small[-1] * vector) / small[-1]
    assert top == pytest.approx(small[-1], rel=1e-3)
    assert apart == pytest.approx(expected, rel=0.02, abs=2e-3) or (steps == 40 and expected < apart < 0.02)
    assert min(abs(values - top)) <= apart * top + 1e-4


def test_a_krylov_basis_that_is_lost_is_no_reading() -> None:
    problem = Krylov(rows=2000, width=600, rounding=2.0**-25)
    payload = np.ones(problem.size, np.float32)
    payload[0], payload[-3] = np.nan, 100
    with pytest.raises(np.linalg.LinAlgError):
        problem.solve(payload)


# -- clamped, low signal, saturated ------------------------------------------------------------------------------------


def test_a_participation_ratio_that_was_clamped_reads_its_bound() -> None:
    """Rows that are all but orthogonal: the unbiased estimate lies beyond the width."""
    x = torch.eye(12)
    found = read(x)
    assert found["participation_ratio{centered=false}"] == 12
    assert found["participation_ratio{centered=true}"] == 12
    ordinary = read(drawn(64, 12))
    assert 1 < ordinary["participation_ratio{centered=true}"] < 12


@pytest.mark.parametrize(("apart", "least", "most"), [(0.1, 0, 0.001), (0.01, 0.01, 0.05), (0.001, 0.1, 1)])
def test_where_bfloat16_leaves_no_variance_the_residual_says_so(
    apart: float, least: float, most: float
) -> None:
    x = 1.4 + 1.4 * apart * drawn(4000, 16).double()
    half = x.to(torch.bfloat16)

    def residual(of: Tensor) -> float:
        of = of.double()
        return ((of - of.mean(0)).square().sum() / of.square().sum()).sqrt().item()

    assert residual(x) == pytest.approx(apart, rel=0.02)
    assert read(x.float())["rank_one_residual"] == pytest.approx(residual(x), rel=1e-3)
    assert read(half)["rank_one_residual"] == pytest.approx(residual(half), rel=1e-4)
    assert least <= (residual(half) / residual(x)) ** 2 - 1 < most


@pytest.mark.parametrize(("rows", "width"), [(24, 400), (400, 24), (64, 64)])
def test_a_rank_at_its_ceiling_shows_beside_the_normalised_one_and_the_count(rows: int, width: int) -> None:
    """SATURATED: within 2 % of the most that so many rows and columns can have."""
    most = min(rows, width)
    basis, _ = torch.linalg.qr(drawn(max(rows, width), most, seed=2))
    full = basis.t() if rows < width else basis
    found = read(full)
    assert found["effective_rank{centered=false}"] > 0.98 * most
    assert found["effective_rank_normalized{centered=false}"] > 1 + math.log(0.98) / math.log(most)
    assert min(found["n_eff"], width) == most
    decayed = full * torch.linspace(1, 0.01, width)
    less = read(decayed if rows >= width else full * torch.linspace(1, 0.01, rows).unsqueeze(1))
    assert less["effective_rank_normalized{centered=false}"] < 1 + math.log(0.98) / math.log(most)
