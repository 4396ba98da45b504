"""Dead, redundant and outlying dimensions, uniformity, classes, comparisons: against loops over rows in float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sdk.spectra import Matrix
from torch import Tensor

from foreshock.measure.problems.problem import Problem
from foreshock.measure.statistics import details, features
from foreshock.series import SeriesSpec

torch.set_num_threads(1)
C = 4


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


MATRICES: dict[str, Callable[[torch.Generator], Tensor]] = {
    "isotropic": lambda g: torch.randn(80, 24, generator=g),
    "decaying": lambda g: torch.randn(90, 32, generator=g) * torch.arange(1, 33) ** -1.0,
    "wide": lambda g: torch.randn(20, 64, generator=g),
    "correlated": lambda g: (
        torch.randn(60, 3, generator=g) @ torch.randn(3, 20, generator=g) + torch.randn(60, 20, generator=g)
    ),
    "large mean": lambda g: torch.randn(60, 20, generator=g) + 30,
    "dead dimensions": lambda g: torch.randn(60, 20, generator=g) * (torch.arange(20) > 4),
    "an outlier": lambda g: torch.cat([torch.randn(40, 8, generator=g), torch.full((1, 8), 50.0)]),
    "huge": lambda g: torch.randn(50, 20, generator=g) * 1e30,
    "tiny": lambda g: torch.randn(50, 20, generator=g) * 1e-30,
    "bfloat16": lambda g: torch.randn(80, 24, generator=g).to(torch.bfloat16),
    "a zero row": lambda g: torch.cat([torch.randn(30, 6, generator=g), torch.zeros(1, 6)]),
}


def read(x: Tensor, valid: Tensor | None = None, **options: object) -> dict[str, float]:
    """Every reading, by key, those that the host finishes too."""
    classes, views = int(options.pop("classes", 0)), int(options.pop("views", 0))  # type: ignore[call-overload]  # numbers
    given = {"x": x, "valid": torch.ones(len(x), dtype=torch.bool) if valid is None else valid, **options}
    if len(x) > details.ROWS:
        given["uniform_pairs"] = torch.rand(len(x), generator=draw())
    values, parts = features.measure(given, "", classes_known=classes, views=views)  # type: ignore[arg-type]  # tensors
    specs: list[SeriesSpec] = features.series("", given, classes_known=classes)
    found = dict(zip([spec.key for spec in specs], values.tolist(), strict=True))
    for part in parts:
        problem: Problem = part.problem
        found |= zip([spec.key for spec in part.series()], problem.solve(part.payload().numpy()), strict=True)
    return found


# -- a second look at the rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MATRICES)
def test_each_reading_is_its_definition(name: str) -> None:
    x = MATRICES[name](draw())
    ours, exact = read(x), x.double().numpy()
    count, width = exact.shape
    centred = exact - exact.mean(0)
    deviation = exact.std(0)
    hinge = np.mean([max(0.0, 1 - math.sqrt(v + 1e-4)) for v in exact.var(0, ddof=1)])
    assert ours["variance_hinge"] == pytest.approx(hinge, rel=1e-4, abs=1e-6)
    dead = np.mean([d <= 0.1 * np.sort(deviation)[(width - 1) // 2] for d in deviation])
    assert ours["dead_dimensions"] == pytest.approx(dead)
    alive = [j for j in range(width) if deviation[j] > 1e-6 * deviation.max()]
    pairs = [
        ((centred[:, j] @ centred[:, k]) / (count * deviation[j] * deviation[k])) ** 2
        for j, k in itertools.combinations(alive, 2)
    ]
    assert ours["redundancy"] == pytest.approx(np.mean(pairs) - 1 / (count - 1), rel=1e-4, abs=2e-6)
    assert ours["top_dimension_share"] == pytest.approx(
        ((exact**2).sum(0) / (exact**2).sum()).max(), rel=1e-5
    )
    fourth = [(centred[:, j] ** 4).mean() / deviation[j] ** 4 for j in alive]
    assert ours["peak_kurtosis"] == pytest.approx(max(fourth), rel=1e-4)
    directed = exact[np.linalg.norm(exact, axis=1) > 0]
    median = np.median(np.abs(directed))
    assert ours["peak_activation"] == pytest.approx(np.abs(exact).max() / median, rel=2e-2)


@pytest.mark.parametrize("name", MATRICES)
def test_uniformity_and_the_vendi_score_are_averages_over_pairs(name: str) -> None:
    x = MATRICES[name](draw())
    ours, exact = read(x), x.double().numpy()
    norms = np.linalg.norm(exact, axis=1)
    unit = exact[norms > 0] / norms[norms > 0, None]
    potential = [math.exp(-2 * ((u - v) ** 2).sum()) for u, v in itertools.combinations(unit, 2)]
    assert ours["uniformity"] == pytest.approx(math.log(np.mean(potential)), abs=1e-5)
    values = np.linalg.eigvalsh(unit @ unit.T / len(unit))
    shares = [v for v in values if v > 1e-14]
    assert ours["vendi_score"] == pytest.approx(
        math.exp(-math.fsum(v * math.log(v) for v in shares)), rel=1e-4
    )


def test_pairs_of_many_rows_are_drawn_among_those_that_count() -> None:
    x = torch.randn(3000, 8, generator=draw())
    x[::2] = 1.0
    valid = torch.arange(3000) % 2 == 1
    masked = read(x, valid)
    assert masked["uniformity"] == pytest.approx(read(x[valid])["uniformity"], abs=0.05)
    assert masked["vendi_score"] > 7.5
    assert math.isfinite(masked["peak_activation"])


def test_constant_rows_say_so() -> None:
    ours = read(torch.randn(1, 6, generator=draw()).expand(20, 6).clone())
    assert ours["variance_hinge"] == pytest.approx(0.99, abs=1e-3)
    assert ours["dead_dimensions"] == 1.0
    assert ours["uniformity"] == pytest.approx(0.0, abs=1e-5)
    assert ours["vendi_score"] == pytest.approx(1.0, abs=1e-4)
    assert math.isnan(ours["redundancy"])
    assert math.isnan(ours["peak_kurtosis"])


def test_nothing_is_read_of_nothing() -> None:
    for x, valid in (
        (torch.randn(5, 4), torch.arange(5) < 1),
        (torch.full((6, 3), math.nan), None),
        (torch.randn(9, 4), torch.zeros(9, dtype=torch.bool)),
    ):
        ours = read(x, valid)
        for key in (
            "variance_hinge",
            "redundancy",
            "peak_activation",
            "peak_kurtosis",
            "uniformity",
            "vendi_score",
        ):
            assert math.isnan(ours[key]), key
    zero = read(torch.zeros(10, 4))
    assert zero["top_dimension_share"] == 0.0
    assert math.isnan(zero["uniformity"])


SCALE_FREE = set(read(torch.randn(30, 6))) - {"variance_hinge"}


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    rows=st.integers(12, 40),
    width=st.integers(3, 30),
    power=st.integers(-40, 40),
    padding=st.integers(1, 20),
)
def test_scale_order_and_padding_change_nothing(
    seed: int, rows: int, width: int, power: int, padding: int
) -> None:
    g = draw(seed)
    x = torch.randn(rows, width, generator=g) * torch.arange(1, width + 1) ** -0.5 + 0.2
    plain = {key: value for key, value in read(x).items() if key in SCALE_FREE}
    changed = {
        "scaled": read(x * 2.0**power),
        "in another order": read(x[torch.randperm(rows, generator=g)][:, torch.randperm(width, generator=g)]),
        "padded": read(
            torch.cat([x, torch.full((padding, width), math.nan)]), torch.arange(rows + padding) < rows
        ),
    }
    for how, values in changed.items():
        for key, value in plain.items():
            if key.startswith(("nonfinite", "condition_number", "peak_activation", "dead_dimensions")):
                continue  # counts of what was put in; at the edge of rounding, or of a threshold
            loose = 5e-3 if key.startswith(("rankme", "spectral", "numerical", "tail")) else 1e-3
            assert values[key] == pytest.approx(value, rel=loose, abs=2e-4, nan_ok=True), (how, key)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), width=st.integers(2, 24))
def test_turning_all_rows_alike_changes_no_spectrum(seed: int, width: int) -> None:
    g = draw(seed)
    x = torch.randn(50, width, generator=g) * torch.arange(1, width + 1) ** -1.0
    turn = torch.linalg.qr(torch.randn(width, width, generator=g)).Q
    before, after = read(x), read(x @ turn)
    for key in before:
        if key.startswith(
            (
                "effective",
                "stable",
                "nuclear",
                "participation",
                "matrix",
                "top_share",
                "mean_",
                "uniformity",
                "vendi",
            )
        ):
            assert after[key] == pytest.approx(before[key], rel=1e-3, abs=1e-4, nan_ok=True), key


# -- classes -----------------------------------------------------------------------------------------------------------


def classed(
    sizes: tuple[int, ...] = (20, 20, 20, 20), width: int = 10, spread: float = 0.5
) -> tuple[Tensor, Tensor]:
    g = draw(3)
    labels = torch.cat([torch.full((size,), c) for c, size in enumerate(sizes)])
    means = torch.randn(len(sizes), width, generator=g) * 2 + 1
    x = means[labels] + spread * torch.randn(len(labels), width, generator=g)
    order = torch.randperm(len(labels), generator=g)
    return x[order], labels[order]


def of_classes(x: Matrix, labels: np.ndarray, size: bool) -> float:
    """tr(Σ_W Σ_B⁺)/C, by outer products of rows."""
    names = sorted(set(labels.tolist()))
    weight = {c: (np.mean(labels == c) if size else 1 / len(names)) for c in names}
    means = {c: x[labels == c].mean(0) for c in names}
    centre = sum(weight[c] * means[c] for c in names)
    within = sum(
        weight[c] / (labels == c).sum() * np.outer(row - means[c], row - means[c])
        for c in names
        for row in x[labels == c]
    )
    between = sum(weight[c] * np.outer(means[c] - centre, means[c] - centre) for c in names)
    return float(np.trace(within @ np.linalg.pinv(between, rcond=1e-9, hermitian=True)) / len(names))


@pytest.mark.parametrize("sizes", [(20, 20, 20, 20), (40, 5, 9, 26), (30, 0, 20, 20)])
@pytest.mark.parametrize("spread", [0.5, 0.01])
@pytest.mark.parametrize("width", [10, 200])
def test_neural_collapse_is_as_defined(sizes: tuple[int, ...], spread: float, width: int) -> None:
    x, labels = classed(sizes, width, spread)
    g = draw(5)
    weight, bias = torch.randn(C, width, generator=g), torch.randn(C, generator=g)
    ours = read(x, labels=labels, classes=C, classifier=weight, bias=bias)
    exact, y = x.double().numpy(), labels.numpy()
    for how in ("equal", "size"):
        assert ours[f"nc1{{weighting={how}}}"] == pytest.approx(of_classes(exact, y, how == "size"), rel=2e-3)
    names = [c for c in range(C) if sizes[c]]
    means = np.stack([exact[y == c].mean(0) for c in names])
    centred = means - means.mean(0)
    norms = np.linalg.norm(centred, axis=1)
    variance = [((exact[y == c] - exact[y == c].mean(0)) ** 2).sum(1).mean() for c in names]
    pairs = list(itertools.combinations(range(len(names)), 2))
    cosines = [centred[a] @ centred[b] / (norms[a] * norms[b]) for a, b in pairs]
    expected = {
        "class_distance_variance": np.mean(
            [(variance[a] + variance[b]) / (2 * ((means[a] - means[b]) ** 2).sum()) for a, b in pairs]
        ),
        "nc2_equinorm": norms.std() / norms.mean(),
        "nc2_equiangular": np.mean([abs(c + 1 / (len(names) - 1)) for c in cosines]),
        "class_mean_cosine": np.mean(
            [abs(means[a] @ means[b]) / np.linalg.norm(means[a]) / np.linalg.norm(means[b]) for a, b in pairs]
        ),
        "nearest_classes_cosine": max(cosines),
        "class_norm_ratio": norms.min() / norms.max(),
        "classes_present": len(names),
    }
    nearest = [names[int(np.argmin(((means - row) ** 2).sum(1)))] for row in exact]
    said = (exact @ weight.double().numpy().T + bias.double().numpy()).argmax(1)
    expected["nearest_mean_accuracy"] = np.mean(nearest == y)
    expected["nc4_agreement"] = np.mean(nearest == said)
    whole = np.zeros((C, width))
    whole[names] = centred
    w = weight.double().numpy()
    expected["nc3_duality"] = ((w / np.linalg.norm(w) - whole / np.linalg.norm(whole)) ** 2).sum()
    for key, value in expected.items():
        assert ours[key] == pytest.approx(value, rel=1e-3, abs=1e-5), key


def test_rows_of_no_class_and_rows_that_are_not_finite_do_not_count() -> None:
    x, labels = classed()
    plain = read(x, labels=labels, classes=C)
    more = torch.cat([x, torch.full((3, 10), 7.0), torch.full((2, 10), math.nan)])
    ours = read(more, labels=torch.cat([labels, torch.tensor([-1, -100, C, 0, 1])]), classes=C)
    for key in (
        "nc1{weighting=equal}",
        "nc1{weighting=size}",
        "nc2_equinorm",
        "class_distance_variance",
        "nearest_mean_accuracy",
    ):
        assert ours[key] == pytest.approx(plain[key], rel=1e-3), key


def test_collapsed_features_on_a_simplex_read_zero_and_merged_classes_say_so() -> None:
    simplex = torch.eye(C) - 1 / C
    labels = torch.arange(40) % C
    ours = read(simplex[labels] * 3, labels=labels, classes=C, classifier=simplex)
    for key in (
        "nc1{weighting=equal}",
        "nc2_equinorm",
        "nc2_equiangular",
        "nc3_duality",
        "class_distance_variance",
    ):
        assert ours[key] == pytest.approx(0, abs=1e-5), key
    assert ours["nc4_agreement"] == 1.0
    assert ours["nearest_classes_cosine"] == pytest.approx(-1 / (C - 1), abs=1e-5)
    merged = simplex.clone()
    merged[3] = merged[2]
    x = merged[labels] + 0.01 * torch.randn(40, C, generator=draw())
    assert read(x, labels=labels, classes=C)["nearest_classes_cosine"] > 0.99


@pytest.mark.parametrize(
    ("x", "labels"),
    [
        (torch.randn(20, 5), torch.ones(20, dtype=torch.int64)),
        (torch.ones(20, 5), torch.arange(20) % C),
        (torch.full((20, 5), math.nan), torch.arange(20) % C),
        (torch.randn(20, 5), torch.full((20,), -100)),
    ],
    ids=["one class", "constant", "not finite", "no class"],
)
def test_without_two_classes_there_is_nothing_to_say(x: Tensor, labels: Tensor) -> None:
    ours = read(x, labels=labels, classes=C, classifier=torch.randn(C, 5))
    for key in (
        "nc1{weighting=equal}",
        "nc2_equinorm",
        "nc3_duality",
        "nc4_agreement",
        "class_distance_variance",
    ):
        assert math.isnan(ours[key]), key


def test_the_layer_before_is_measured_on_the_same_rows() -> None:
    x, labels = classed(spread=0.3)
    before = x + 2 * torch.randn(len(x), 10, generator=draw())
    ours = read(x, labels=labels, previous=before)
    alone = read(x, labels=labels)["class_variability"] / read(before, labels=labels)["class_variability"]
    assert ours["class_variability_ratio"] == pytest.approx(alone, rel=1e-4)
    given = {"x": x, "labels": labels, "previous": before, "valid": torch.ones(len(x), dtype=torch.bool)}
    drawn, _ = features.measure(
        {**given, "uniform": torch.rand(len(x), generator=draw())}, "", rows_at_most=60
    )
    index = [spec.statistic for spec in features.series("", given)].index("class_variability_ratio")
    assert drawn[index].item() == pytest.approx(alone, rel=0.4)
