"""What the host reads of a spectrum, against singular values in float64; and problems on their way to another process."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.sdk.spectra import NAMES, Matrix, entropy_rank, matrix, singular_values

from foreshock.measure.problems import collapse, gram, krylov, lidar, similarity, weights
from foreshock.measure.problems.problem import Problem
from foreshock.measure.problems.spectrum import BINS, Spectrum
from foreshock.measure.problems.wire import HEADER, pack, unpack
from foreshock.measure.statistics import spectrum
from foreshock.measure.statistics.rows import prepare

torch.set_num_threads(1)
ROWS, WIDTH = 640, 160


def singular(x: Matrix, floor: float = 0.0) -> Matrix:
    """Singular values, largest first; those up to the floor are zero."""
    values = singular_values(torch.from_numpy(x))
    return np.where(values > floor, values, 0.0)


def naive(s: Matrix, raw: Matrix) -> dict[str, float]:
    """The readings of one matrix from its singular values: each by its own definition, in plain sums."""
    squares = s**2
    total = math.fsum(squares)
    held = [v for v in squares if v > 0]
    shares = [v / total for v in held]
    below = 0
    while math.fsum(s[: below + 1]) < 0.99 * math.fsum(s) * (1 - 1e-12):
        below += 1
    rankme = [v / math.fsum(raw) + 1e-7 for v in raw]
    first, last = 11, min(100, len(held) // 2)
    points = range(first, last + 1)
    slope = math.nan
    if len(points) >= 10:
        slope = -float(
            np.polyfit([math.log(i) for i in points], [math.log(held[i - 1]) for i in points], 1)[0]
        )
    return {
        "effective_rank": math.exp(-math.fsum(q * math.log(q) for q in shares)),
        "effective_rank_normalized": -math.fsum(q * math.log(q) for q in shares) / math.log(min(ROWS, WIDTH)),
        "effective_rank_sigma": entropy_rank(s),
        "stable_rank": total / squares[0],
        "nuclear_rank": math.fsum(s) ** 2 / total,
        "numerical_rank": len(held),
        "top_share 1": squares[0] / total,
        "top_share 10": math.fsum(squares[:10]) / total,
        "rankme": math.exp(-math.fsum(p * math.log(p) for p in rankme)),
        "tail_rank": below + 1,
        "matrix_entropy": -math.fsum(q * math.log(q) for q in shares),
        "spectral_slope": slope,
        "condition_number": held[0] / held[-1],
    }


def solved(x: torch.Tensor, *, histogram: bool = False) -> dict[str, float]:
    """What the device and the host make of it together, by statistic, centring and what else tells them apart."""
    _, product = spectrum.gram(prepare(x, torch.ones(len(x), dtype=torch.bool)), x.dtype)
    problem = dataclasses.replace(product.problem, histogram=histogram)
    numbers = problem.solve(product.payload().numpy())
    assert len(numbers) == problem.answers
    return {
        " ".join([name, *(value for label, value in sorted(labels.items()) if label != "columns")]): number
        for (name, labels), number in zip(problem.readings, numbers, strict=True)
    }


def noise_floor(x: Matrix, unit: float) -> float:
    """Of singular values: what rounding to this unit would give by itself, and what float32 sums leave."""
    rows, width = x.shape
    edge = 2 * unit * math.sqrt((x**2).sum() / (rows * width)) * (math.sqrt(rows) + math.sqrt(width))
    centred = x - x.mean(0)
    return max(edge, math.sqrt(2.0**-23 * 6 / math.sqrt(min(x.shape))) * singular(centred)[0])


FLAT = ("rank 8", "rank 1", "rank 1 and noise", "half the dimensions")  # the end of these spectra is rounding


@pytest.mark.parametrize("name", NAMES)
def test_every_reading_is_its_definition_on_the_eleven_spectra(name: str) -> None:
    x = matrix(name, ROWS, WIDTH).float()
    exact = x.double().numpy()
    ours = solved(x)
    for centred, one in (("false", exact), ("true", exact - exact.mean(0))):
        floor, values = noise_floor(exact, 2.0**-25), singular(one)
        # What the processor's sums push below zero may lift the floor; a value at it may round to either side.
        fewest, most = (int((values > by * floor).sum()) for by in (2.0, 1 / 1.1))
        count = int(ours[f"numerical_rank {centred}"])
        assert fewest <= count <= most, name
        expected = naive(np.where(np.arange(len(values)) < count, values, 0.0), values)
        for statistic, value in expected.items():
            base, _, top = statistic.partition(" ")
            key = " ".join([base, centred, *([top] if top else [])])
            if key not in ours:
                continue
            if base in ("condition_number", "spectral_slope", "rankme") and name in FLAT:
                continue
            loose = {"condition_number": 5e-2, "rankme": 1e-2}.get(base, 1e-3)
            assert ours[key] == pytest.approx(value, rel=loose, abs=2e-5, nan_ok=True), key


def test_ranks_of_half_precision_do_not_count_its_rounding() -> None:
    x = matrix("rank 8", 1024, 256)
    low = solved(x.to(torch.bfloat16))
    assert low["numerical_rank false"] == 8
    assert low["effective_rank_sigma false"] == pytest.approx(entropy_rank(singular(x.numpy())[:8]), rel=2e-3)
    assert (
        low["rankme false"] > low["effective_rank_sigma false"] * 1.05
    )  # which is why it is not the one to watch


def test_the_histogram_counts_every_eigenvalue_above_rounding_in_its_bin() -> None:
    x = matrix("power 1.0", ROWS, WIDTH).float()
    ours = solved(x, histogram=True)
    bins = {key: value for key, value in ours.items() if key.startswith("spectrum_histogram")}
    assert len(bins) == BINS
    assert sum(bins.values()) == ours["numerical_rank true"]
    exact = x.double().numpy()
    squares = singular(exact - exact.mean(0)) ** 2
    level = np.log2(squares / squares.sum())
    centres = [float(key.split()[2]) for key in bins]
    width = 40.0 / BINS
    for centre, count in zip(centres, bins.values(), strict=True):
        inside = ((level >= centre - width / 2 - 1e-4) & (level < centre + width / 2 + 1e-4)).sum()
        assert abs(inside - count) <= 1
    assert all(value == 0 for value in solved(torch.zeros(20, 4), histogram=True).values() if value == value)


@pytest.mark.parametrize(
    ("rows", "zero", "nan"),
    [
        (torch.zeros(30, 6), True, ("spectral_slope", "condition_number")),
        (torch.zeros(1, 6), False, ()),
        (torch.full((30, 6), math.nan), False, ()),
    ],
    ids=["all zero", "one row", "not finite"],
)
def test_what_has_no_spectrum_reads_zero_or_nan(rows: torch.Tensor, zero: bool, nan: tuple[str, ...]) -> None:
    for key, value in solved(rows).items():
        assert math.isnan(value) if not zero or key.startswith(nan) else value == 0.0, key


def test_weighted_values_read_as_if_each_stood_there_so_often() -> None:
    values, weights_ = np.array([5.0, 2.0, 0.5]), np.array([1.0, 3.0, 4.0])
    few, many = Spectrum.of(values, weights=weights_), Spectrum.of(np.repeat(values, weights_.astype(int)))
    for read in (
        Spectrum.entropy, Spectrum.sigma_rank, Spectrum.rank, Spectrum.stable, Spectrum.nuclear, Spectrum.numerical, Spectrum.rankme,
    ):  # fmt: skip
        assert read(few) == pytest.approx(read(many))
    for top in (1, 2, 4, 8):
        assert few.share(top) == pytest.approx(many.share(top))
    assert few.histogram() == many.histogram()
    assert many.tail_rank() - 1 < few.tail_rank() <= many.tail_rank()


# -- the power law of weights ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [2.2, 3.5])
def test_a_power_law_above_a_start_is_found_again(exponent: float) -> None:
    rng = np.random.default_rng(0)
    tail = (1 - rng.random(800)) ** (-1 / (exponent - 1))
    body = rng.random(800)
    found, distance = weights.tail(np.sort(np.concatenate([tail, body]))[::-1])
    assert found == pytest.approx(exponent, rel=0.08)
    assert distance < 0.04


def test_its_distance_is_the_smallest_over_all_starts() -> None:
    values = np.sort(np.random.default_rng(1).pareto(1.5, 120) + 1)[::-1]

    def of(start: int) -> tuple[float, float]:
        x = values[:start]
        alpha = 1 + start / math.fsum(math.log(v / x[-1]) for v in x)
        steps = [
            max(
                abs((i + 1) / start - (v / x[-1]) ** (1 - alpha)), abs(i / start - (v / x[-1]) ** (1 - alpha))
            )
            for i, v in enumerate(x)
        ]
        return max(steps), alpha

    distance, exponent = min(of(start) for start in range(weights.SHORTEST, 121))
    assert weights.tail(values) == pytest.approx((exponent, distance))


def test_too_few_eigenvalues_have_no_exponent() -> None:
    assert all(math.isnan(value) for value in weights.tail(np.ones(weights.FEWEST - 1)))
    assert all(math.isnan(value) for value in weights.tail(np.ones(200)))
    problem = weights.Weights(8, 60)
    rank, exponent, distance = problem.solve(np.eye(8, dtype=np.float32).reshape(-1))
    assert rank == pytest.approx(8)
    assert math.isnan(exponent)
    assert math.isnan(distance)
    assert all(math.isnan(value) for value in problem.solve(np.full(64, np.nan, np.float32)))


# -- on their way ----------------------------------------------------------------------------------------------------

PROBLEMS: list[Problem] = [
    gram.Gram(500, 96, True, 2.0**-9),
    gram.Gram(20, 64, False, 2.0**-25, histogram=True),
    krylov.Krylov(4096, 1024, 2.0**-12),
    similarity.Similarity(512),
    lidar.Lidar(100, 64),
    collapse.Collapse(10),
    weights.Weights(64, 256),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_a_problem_survives_the_way_to_another_process(problem: Problem) -> None:
    header = pack(problem)
    assert len(header) == HEADER.size
    again = unpack(header)
    assert again == problem
    assert (again.size, again.side, again.answers) == (problem.size, problem.side, problem.answers)


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
@pytest.mark.parametrize(
    "fill", [lambda size: np.zeros(size, np.float32), lambda size: np.full(size, np.nan, np.float32)]
)
def test_it_answers_as_often_as_it_says_also_when_there_is_nothing_to_be_had(
    problem: Problem, fill: Callable[[int], np.ndarray]
) -> None:
    answers = problem.solve(fill(problem.size))
    assert len(answers) == problem.answers
    assert all(math.isnan(value) or value == 0.0 for value in answers)
