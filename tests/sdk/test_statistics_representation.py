"""Spread, cosine, participation ratio and effective rank against their definitions in float64, on good and hostile matrices."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from foreshock.measure.problems.gram import Gram
from foreshock.measure.statistics import agreement, classes, embedding, representation, spectrum
from foreshock.measure.statistics.rows import prepare

torch.set_num_threads(1)
Matrix = NDArray[np.float64]
MATRICES = {
    "isotropic": lambda g: torch.randn(80, 24, generator=g),
    "decaying": lambda g: torch.randn(90, 32, generator=g) * torch.arange(1, 33) ** -1.0,
    "wide": lambda g: torch.randn(20, 64, generator=g),
    "square": lambda g: torch.randn(48, 48, generator=g),
    "rank 3": lambda g: torch.randn(60, 3, generator=g) @ torch.randn(3, 40, generator=g),
    "large mean": lambda g: torch.randn(60, 20, generator=g) + 30,
    "huge": lambda g: torch.randn(50, 20, generator=g) * 1e30,
    "tiny": lambda g: torch.randn(50, 20, generator=g) * 1e-30,
    "two rows": lambda g: torch.randn(2, 5, generator=g),
    "five rows": lambda g: torch.randn(5, 3, generator=g),
    "a zero row": lambda g: torch.cat([torch.randn(30, 6, generator=g), torch.zeros(1, 6)]),
    "bfloat16": lambda g: torch.randn(80, 24, generator=g).to(torch.bfloat16),
    "float16": lambda g: torch.randn(80, 24, generator=g).to(torch.float16),
    "float64": lambda g: torch.randn(80, 24, generator=g).double(),
}


def make(name: str) -> Tensor:
    return MATRICES[name](torch.Generator().manual_seed(0))


def everyone(x: Tensor) -> Tensor:
    return torch.ones(len(x), dtype=torch.bool)


def read(x: Tensor, valid: Tensor | None = None) -> dict[str, float]:
    """Everything the module reads of a matrix, by series key."""
    values, product = representation.measure({"x": x, "valid": everyone(x) if valid is None else valid})
    keys = [spec.key for spec in (*representation.series(""), *representation.finished_series(""))]
    return dict(zip(keys, [*values.tolist(), *finished(product)], strict=True))


def finished(product: spectrum.Product) -> tuple[float, ...]:
    """What the host makes of it."""
    return product.problem.solve(product.payload().numpy())


def entropy_of_spectrum(x: Matrix) -> float:
    eigenvalues = np.linalg.svd(x, compute_uv=False) ** 2
    shares = [v / eigenvalues.sum() for v in eigenvalues if v / eigenvalues.sum() > 1e-13]
    return -math.fsum(q * math.log(q) for q in shares)


def participation(x: Matrix) -> float:
    """Σ_{i≠j} r_i r_j / Σ_{i≠j} (x_i·x_j)², by pairs."""
    pairs = list(itertools.permutations(range(len(x)), 2))
    upper = math.fsum((x[i] @ x[i]) * (x[j] @ x[j]) for i, j in pairs)
    lower = math.fsum((x[i] @ x[j]) ** 2 for i, j in pairs)
    return upper / lower


def participation_centred(x: Matrix) -> float:
    """Ratio of the unbiased estimates of (tr Σ)² and tr Σ²: averages over all choices of four different rows.

    For different i, j, k, m: E[((x_i−x_j)·(x_k−x_m))²]/4 = tr Σ² and E[|x_i−x_j|² |x_k−x_m|²]/4 = (tr Σ)².
    """
    upper, lower = [], []
    for i, j, k, m in itertools.permutations(range(len(x)), 4):
        a, b = x[i] - x[j], x[k] - x[m]
        upper.append((a @ a) * (b @ b))
        lower.append((a @ b) ** 2)
    return math.fsum(upper) / math.fsum(lower)


@pytest.mark.parametrize("name", MATRICES)
def test_spread_cosine_and_mean_share_agree_with_their_definitions(name: str) -> None:
    x = make(name)
    ours = read(x)
    exact = x.double().numpy()
    norms = np.linalg.norm(exact, axis=1, keepdims=True)
    unit = np.divide(exact, norms, out=np.zeros_like(exact), where=norms > 0)
    assert ours["embedding_std"] == pytest.approx(math.sqrt(x.shape[1]) * unit.std(0).mean(), rel=1e-5)
    directed = unit[norms[:, 0] > 0]
    cosines = [float(a @ b) for a, b in itertools.combinations(directed, 2)]
    assert ours["mean_cosine"] == pytest.approx(np.mean(cosines), abs=2e-6)
    share = len(exact) * (exact.mean(0) ** 2).sum() / (exact**2).sum()
    assert ours["mean_share"] == pytest.approx(share, rel=1e-5)
    assert ours["n_eff"] == len(x)
    centred = exact - exact.mean(0)
    distances = np.linalg.norm(centred, axis=1)
    away = centred[distances > 0] / distances[distances > 0, None]
    centred_cosines = [float(a @ b) for a, b in itertools.combinations(away, 2)]
    assert ours["mean_cosine_centered"] == pytest.approx(np.mean(centred_cosines), abs=2e-6)
    residual = np.sqrt((centred**2).sum() / (exact**2).sum())
    assert ours["rank_one_residual"] == pytest.approx(residual, rel=1e-5)
    assert ours["nonfinite_count{tensor=activation}"] == 0


@pytest.mark.parametrize("name", MATRICES)
def test_effective_ranks_agree_with_the_singular_values(name: str) -> None:
    x = make(name)
    ours = read(x)
    exact = x.double().numpy()
    for centred, matrix in (("false", exact), ("true", exact - exact.mean(0))):
        entropy = entropy_of_spectrum(matrix)
        most = math.log(min(x.shape))
        assert ours[f"effective_rank{{centered={centred}}}"] == pytest.approx(math.exp(entropy), rel=1e-3)
        assert ours[f"effective_rank_normalized{{centered={centred}}}"] == pytest.approx(
            entropy / most, rel=1e-3, abs=1e-5
        )


@pytest.mark.parametrize("name", [name for name in MATRICES if name != "two rows"])
def test_the_uncentred_participation_ratio_is_the_average_over_pairs(name: str) -> None:
    x = make(name)
    expected = min(participation(x.double().numpy()), x.shape[1])
    assert read(x)["participation_ratio{centered=false}"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shape", [(5, 3), (9, 4), (8, 12), (6, 2)])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_the_centred_participation_ratio_is_the_average_over_quadruples(
    shape: tuple[int, int], offset: float
) -> None:
    x = (
        torch.randn(*shape, generator=torch.Generator().manual_seed(2)) * torch.arange(1, shape[1] + 1)
        + offset
    )
    expected = min(max(participation_centred(x.double().numpy()), 1), shape[1])
    assert read(x)["participation_ratio{centered=true}"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_participation_ratios_of_small_samples_are_unbiased(exponent: float) -> None:
    generator = torch.Generator().manual_seed(0)
    width = 512
    eigenvalues = torch.arange(1, width + 1, dtype=torch.float64) ** -exponent
    true = (eigenvalues.sum() ** 2 / eigenvalues.square().sum()).item()
    draws = []
    for _ in range(50):
        x = (torch.randn(256, width, generator=generator) * eigenvalues.sqrt()).float()
        draws.append(spectrum.gram(prepare(x, everyone(x)), x.dtype)[0])
    uncentred, centred = torch.stack(draws).mean(0).tolist()
    assert uncentred == pytest.approx(true, rel=0.03)
    assert centred == pytest.approx(true, rel=0.03)


def test_ranks_come_out_the_same_from_either_gram() -> None:
    x = torch.randn(40, 40, generator=torch.Generator().manual_seed(0)) + 0.5
    tall, wide = read(torch.cat([x, x])), read(torch.cat([x, x], 1))  # equal singular values
    assert tall["effective_rank{centered=false}"] == pytest.approx(
        wide["effective_rank{centered=false}"], rel=1e-5
    )


@pytest.mark.parametrize("shape", [(60, 20), (20, 60)])
def test_the_gram_of_the_raw_rows_and_of_the_centred_ones_finish_alike(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The raw Gram is what CUDA multiplies from half precision; its arithmetic is the same on any device."""
    x = (torch.randn(*shape, generator=torch.Generator().manual_seed(0)) + 1).to(torch.bfloat16)
    rows = prepare(x, everyone(x))
    ratios, product = spectrum.gram(rows, x.dtype)
    assert product.problem.centred
    monkeypatch.setattr(spectrum, "_half_product", lambda a, b, dtype: a.to(dtype) @ b.to(dtype))
    object.__setattr__(rows, "native", rows.x.to(torch.bfloat16))
    assert torch.equal(
        rows.x, rows.x.to(torch.bfloat16).float()
    )  # the scale is a power of two: nothing is lost
    raw_ratios, raw = spectrum.gram(rows, x.dtype)
    assert not raw.problem.centred
    assert torch.allclose(raw_ratios, ratios, rtol=1e-4)
    assert finished(raw) == pytest.approx(finished(product), rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("setting", ["highest", "high"])
def test_the_noise_floor_follows_how_products_on_cuda_are_rounded(setting: str) -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(setting)
    try:
        with FakeTensorMode():
            x = torch.empty(8, 4, device="cuda")
        assert spectrum._rounding(torch.float32, x) == (2.0**-12 if setting == "high" else 2.0**-25)
        assert spectrum._rounding(torch.bfloat16, x) == 2.0**-9
        assert spectrum._rounding(torch.float32, torch.empty(8, 4)) == 2.0**-25
    finally:
        torch.set_float32_matmul_precision(before)


def test_rounding_noise_of_bfloat16_is_not_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(512, 1, generator=generator) @ torch.randn(1, 128, generator=generator)
    assert read(one.to(torch.bfloat16))["effective_rank{centered=false}"] == pytest.approx(1.0, abs=2e-3)


def test_an_all_zero_matrix_has_rank_zero_and_no_spread() -> None:
    ours = read(torch.zeros(10, 4))
    for key in (
        "effective_rank",
        "effective_rank_normalized",
        "effective_rank_sigma",
        "participation_ratio",
        "stable_rank",
    ):
        assert ours[f"{key}{{centered=false}}"] == 0.0
        assert ours[f"{key}{{centered=true}}"] == 0.0
    assert ours["embedding_std"] == 0.0
    assert ours["mean_share"] == 0.0
    assert math.isnan(ours["mean_cosine"])
    assert ours["n_eff"] == 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(10, 4), (4, 10), (500, 33)])
def test_constant_rows_have_rank_one_and_centred_rank_zero(
    dtype: torch.dtype, shape: tuple[int, int]
) -> None:
    row = torch.randn(1, shape[1], generator=torch.Generator().manual_seed(0)) * 7
    ours = read(row.expand(shape).to(dtype))
    assert ours["effective_rank{centered=false}"] == pytest.approx(1.0, abs=1e-4)
    assert ours["participation_ratio{centered=false}"] == pytest.approx(1.0, abs=1e-5)
    assert ours["effective_rank{centered=true}"] == 0.0
    assert ours["participation_ratio{centered=true}"] == 0.0
    assert ours["embedding_std"] == pytest.approx(0.0, abs=1e-6)
    assert ours["mean_cosine"] == pytest.approx(1.0, abs=1e-6)
    assert ours["mean_share"] == pytest.approx(1.0, abs=1e-6)


def test_orthogonal_rows_read_the_width_and_not_infinity() -> None:
    assert read(torch.eye(6, 8))["participation_ratio{centered=false}"] == 8.0


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_rows_read_nan(count: int) -> None:
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    ours = read(x, torch.arange(5) < count)
    assert ours.pop("n_eff") == count
    assert ours.pop("nonfinite_count{tensor=activation}") == 0
    assert all(math.isnan(value) for value in ours.values()), ours


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_rows_that_are_not_finite_are_dropped_and_their_values_counted(poison: float) -> None:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    clean = read(x[2:])
    x[0, 1] = x[1, 1] = x[1, 2] = poison
    ours = read(x)
    assert ours.pop("nonfinite_count{tensor=activation}") == 3
    clean.pop("nonfinite_count{tensor=activation}")
    assert ours == pytest.approx(clean, rel=1e-5, nan_ok=True)


def test_a_mostly_bad_matrix_reads_nan() -> None:
    x = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    x[:6, 0] = math.nan
    ours = read(x)
    assert ours.pop("n_eff") == 4
    assert ours.pop("nonfinite_count{tensor=activation}") == 6
    assert all(math.isnan(value) for value in ours.values())
    x[5, 0] = 1.0
    assert math.isfinite(read(x)["effective_rank{centered=true}"])


def test_masked_rows_do_not_count_whatever_they_hold() -> None:
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    valid = torch.arange(30) % 3 > 0
    alone = read(x[valid])
    x[~valid] = 1e20
    assert read(x, valid) == pytest.approx(alone, rel=1e-4, nan_ok=True)


def test_more_rows_than_the_sample_are_measured_on_valid_ones_only() -> None:
    generator = torch.Generator().manual_seed(0)
    x, uniform = torch.randn(1000, 8, generator=generator), torch.rand(1000, generator=generator)
    valid = torch.arange(1000) % 2 == 0
    x[~valid] = 100.0
    values, product = representation.measure({"x": x, "valid": valid, "uniform": uniform}, rows_at_most=256)
    assert product.problem == Gram(256, 8, centred=True, rounding=2.0**-25)
    assert values[[spec.key for spec in representation.series("")].index("mean_share")] < 0.1


@pytest.mark.parametrize("rows_at_most", [20, 1000])
def test_images_and_slices_read_as_their_rows_do(rows_at_most: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 8, 5, 3, generator=generator).movedim(1, -1)
    given = {
        "x": x,
        "valid": torch.rand(60, generator=generator) > 0.3,
        "uniform": torch.rand(60, generator=generator),
    }
    values, product = representation.measure(given, rows_at_most)
    flat = {**given, "x": x.reshape(60, 8)}
    expected, of_rows = representation.measure(flat, rows_at_most)
    assert product.problem == of_rows.problem
    assert torch.equal(values, expected)
    assert torch.equal(product.payload(), of_rows.payload())


def test_columns_beyond_the_limit_are_a_fixed_even_choice_and_the_label_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(representation, "COLUMNS", 16)
    x = torch.randn(100, 40, generator=torch.Generator().manual_seed(0))
    few = x[:, [int(index * 40 / 16) for index in range(16)]]
    assert read(x) == pytest.approx(read(few), rel=1e-5, nan_ok=True)
    wide = representation.finished_series("h", wide=True)[0]
    assert wide.key == "effective_rank{centered=false,columns=16,place=h}"


def test_alignment_is_the_mean_distance_of_unit_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(20, 5, generator=generator), torch.randn(20, 5, generator=generator)
    valid = torch.arange(20) > 3
    exact = [
        float(((u / np.linalg.norm(u) - v / np.linalg.norm(v)) ** 2).sum())
        for u, v in zip(a[4:].double().numpy(), b[4:].double().numpy(), strict=True)
    ]
    a[0] = math.nan

    def read(a: Tensor, b: Tensor, valid: Tensor) -> float:
        return agreement.alignment(prepare(a, valid), prepare(b, valid)).item()

    assert read(a, b, valid) == pytest.approx(np.mean(exact), rel=1e-5)
    assert read(b, b, valid) == 0.0
    assert read(b, -3 * b, valid) == pytest.approx(4.0, rel=1e-5)
    assert math.isnan(read(b, b, torch.zeros(20, dtype=torch.bool)))


@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_class_variability_is_within_over_between(offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, generator=generator) + offset
    names = torch.tensor([-7, 3, 10**10])
    label = names[torch.randint(3, (60,), generator=generator)]
    x[label == 3] += 4
    exact, mean = x.double().numpy(), x.double().numpy().mean(0)
    within = between = 0.0
    for name in names.tolist():
        members = exact[(label == name).numpy()]
        within += ((members - members.mean(0)) ** 2).sum()
        between += len(members) * ((members.mean(0) - mean) ** 2).sum()
    assert classes.variability(prepare(x, everyone(x)), label).item() == pytest.approx(
        within / between, rel=1e-3
    )


def test_class_variability_needs_two_classes() -> None:
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    assert classes.variability(prepare(x, everyone(x)), torch.ones(10, dtype=torch.int64)).isnan()
    split = torch.arange(10) // 5
    assert classes.variability(prepare(x, split == 1), split).isnan()  # the other class is masked


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_value_that_is_not_finite_is_counted(dtype: torch.dtype) -> None:
    x = torch.ones(100, 100, dtype=dtype)
    x[0, :50], x[1, :30], x[2, :7] = math.nan, math.inf, -math.inf
    assert embedding.nonfinite(x).item() == 87
    assert embedding.nonfinite(torch.full((3, 700), 1e4, dtype=dtype)).item() == 0
