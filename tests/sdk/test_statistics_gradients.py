"""Sketches of gradients, and what is read from them, against numpy in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from foreshock.measure.statistics import (
    clipping,
    conflict,
    curvature,
    gradients,
    moments_of_adam,
    sketch,
)

torch.set_num_threads(1)
G = torch.Generator().manual_seed(0)
BY = sketch.Weighing(*torch.tensor(sketch.Layout((), (50, 40), (50, 400)).weighing).unbind(0))


def two(seed: int) -> Tensor:
    """Two places of 50 and 40 coordinates; the second stands for ten times as many."""
    x = torch.randn(2, 50, generator=torch.Generator().manual_seed(seed))
    x[1, 40:] = 0
    return x


def parts(*sketches: Tensor) -> list[list[np.ndarray]]:
    """The same as numpy has them: each place, then all together with the second place ten times."""
    arrays = [s.double().numpy() for s in sketches]
    first, second = [a[0, :50] for a in arrays], [a[1, :40] for a in arrays]
    whole = [np.concatenate([f, *[s] * 10]) for f, s in zip(first, second, strict=True)]
    return [first, second, whole]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


# -- the sketch -------------------------------------------------------------------------------------------------------


def test_a_sketch_is_a_strided_copy_padded_with_zeros() -> None:
    weight, bias = torch.arange(1.0, 61).reshape(6, 10), torch.arange(1.0, 4)
    layout = sketch.layout([[weight], [bias]], 10)
    taken = sketch.gather([[weight], [bias]], layout)
    weight.zero_()
    assert taken.tolist() == [[1, 8, 15, 22, 29, 36, 43, 50, 57], [1, 2, 3, 0, 0, 0, 0, 0, 0]]
    assert layout.counts == (9, 3)
    assert layout.sizes == (60, 3)


@pytest.mark.parametrize("shape", [(64, 48), (96, 7, 5), (300,), (2, 4096)])
def test_every_column_is_sampled_alike(shape: tuple[int, ...]) -> None:
    columns = torch.arange(shape[-1]).expand(shape).float()
    taken = sketch.gather([[columns]], sketch.layout([[columns]], math.prod(shape) // 4))
    seen = np.bincount(taken.long().flatten().numpy(), minlength=shape[-1])
    if len(shape) > 1:
        assert seen.max() - seen.min() <= 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_sketch_is_float32_whatever_the_tensors_are(dtype: torch.dtype) -> None:
    places = [[torch.ones(3, 4, dtype=dtype), torch.ones(2)], [torch.ones(5, dtype=dtype)]]
    assert sketch.gather(places, sketch.layout(places)).dtype == torch.float32


def test_the_order_is_that_of_the_values_not_of_the_memory() -> None:
    image = torch.randn(4, 3, 5, 5, generator=G).to(memory_format=torch.channels_last)
    layout = sketch.layout([[image]], 40)
    assert torch.equal(sketch.gather([[image]], layout), sketch.gather([[image.contiguous()]], layout))
    turned = torch.randn(6, 8, generator=G).t()
    layout = sketch.layout([[turned]], 10)
    assert torch.equal(sketch.gather([[turned]], layout), sketch.gather([[turned.contiguous()]], layout))


def test_a_view_into_a_larger_storage_is_read_where_it_begins() -> None:
    whole = torch.arange(100.0)
    part = whole.narrow(0, 40, 20)
    assert sketch.gather([[part]], sketch.layout([[part]], 4)).tolist()[0] == whole[40:60:7].tolist()


# -- cosines ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e-18, 1e18])
def test_cosines_weigh_places_by_size_and_know_no_scale(scale: float) -> None:
    a, b = two(0), two(1)
    expected = [cosine(x, y) for x, y in parts(a, b)]
    assert sketch.cosines(sketch.scaled(a * scale), b, BY).tolist() == pytest.approx(expected, abs=1e-5)


def test_cosines_of_zeros_are_zero_and_of_nan_are_nan() -> None:
    a, zero = two(0), torch.zeros(2, 50)
    assert sketch.cosines(a, zero, BY).tolist() == [0, 0, 0]
    bad = two(1)
    bad[0, 3] = math.nan
    assert sketch.cosines(a, bad, BY).isnan().tolist() == [True, False, True]


def test_the_alignment_is_that_of_the_descent_direction_with_the_weights() -> None:
    gradient, weight = two(0), two(1)
    gradient[0, :20] = 0
    gradient[1, 5] = 0
    values = gradients.single(gradient, sketch.scaled(gradient), weight, BY).tolist()
    expected = [float((x == 0).mean()) for x, _ in parts(gradient, weight)]
    assert values[:3] == pytest.approx(expected)
    assert values[3:] == pytest.approx([-cosine(g, w) for g, w in parts(gradient, weight)], abs=1e-5)
    shrinking = gradients.single(-weight, -weight, weight, BY).tolist()[3:]
    assert shrinking == pytest.approx([1, 1, 1])


def test_turns_compare_two_steps_by_direction_and_by_sign() -> None:
    a, b = two(0), two(1)
    a[0, :10] = 0
    b[0, 5:15] = 0
    values = gradients.paired(a, b, BY).tolist()
    assert values[:3] == pytest.approx([cosine(x, y) for x, y in parts(a, b)], abs=1e-5)
    signs = [
        np.sum((np.sign(x) == np.sign(y)) & (x != 0)) / np.sum((x != 0) | (y != 0)) for x, y in parts(a, b)
    ]
    assert values[3:] == pytest.approx(signs)
    assert gradients.paired(a, -a, BY).tolist() == pytest.approx([-1] * 3 + [0] * 3)
    zero = torch.zeros(2, 50)
    assert gradients.paired(zero, zero, BY).tolist() == [0] * 6
    a[0, 20] = math.nan
    assert gradients.paired(a, b, BY).isnan().tolist() == [True, False, True] * 2


def test_lost_updates_are_those_that_rounding_swallows() -> None:
    weight = torch.randn(1, 20000, generator=G).bfloat16()
    exact = weight.double().numpy()
    by = sketch.Weighing(*torch.tensor(sketch.layout([[weight]], 20000).weighing).unbind(0))
    for ratio, expected in ((1e-2, 0.17), (1e-3, 0.775), (1e-4, 0.976)):
        update = torch.randn(1, 20000, generator=G) * ratio
        after = (weight.float() + update).bfloat16()
        lost = gradients.lost(update, weight.float(), after.float(), by)
        truth = np.mean(after.double().numpy() == exact)
        assert lost.tolist() == pytest.approx([truth, truth])
        assert truth == pytest.approx(expected, abs=0.02)
    still = gradients.lost(torch.zeros(2, 50), two(0), two(0), BY)
    assert still.tolist() == [0, 0, 0]


def test_only_coordinates_with_a_gradient_can_lose_an_update() -> None:
    gradient, before = two(0), two(1)
    gradient[0, :25] = 0
    after = before.clone()
    after[0, 25:35] += 1
    assert gradients.lost(gradient, before, after, BY)[0].item() == pytest.approx(15 / 25)


# -- history and noise ------------------------------------------------------------------------------------------------


def test_a_value_is_compared_with_the_average_of_the_earlier_ones() -> None:
    series = [2.0, 4.0, 1.0, math.nan, 50.0, math.inf, 3.0]
    history = torch.zeros(2, 1)
    seen: list[float] = []
    for value in series:
        ratio, history = gradients.against_history(torch.tensor([value]), history, 0.9)
        weights = [0.9**age for age in range(len(seen))][::-1]
        kept = [(w, x) for w, x in zip(weights, seen, strict=True) if math.isfinite(x)]
        average = sum(w * x for w, x in kept) / sum(w for w, _ in kept) if kept else None
        expected = 1.0 if average is None else value / average
        assert ratio.item() == pytest.approx(expected, nan_ok=True, rel=1e-5)
        if math.isfinite(value):
            seen.append(value)


def test_a_history_of_zeros_says_nothing() -> None:
    ratio, history = gradients.against_history(torch.zeros(1), torch.zeros(2, 1))
    ratio, history = gradients.against_history(torch.ones(1), history)
    assert ratio.item() == 1


def samples(parts: int, batch: int, noise: float, records: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=2000) / math.sqrt(2000)
    return [
        truth + noise / math.sqrt(batch) * rng.normal(size=(parts, 2000)) / math.sqrt(2000)
        for _ in range(records)
    ]


@pytest.mark.parametrize(("parts", "noise"), [(2, 3.0), (4, 3.0), (8, 1.0), (16, 10.0)])
def test_the_noise_scale_is_found_from_micro_batches(parts: int, noise: float) -> None:
    batch = 4
    history = torch.zeros(2)
    value = torch.zeros(1)
    for record in samples(parts, batch, noise, 200, parts):
        micro = torch.from_numpy(record).float()
        signal = gradients.signal((micro**2).sum(), micro.sum(0).square().sum(), parts)
        value, history = gradients.noise(signal, history)
    truth = noise**2 / batch  # trΣ = noise², |G|² = 1, in micro-batches
    assert value.item() == pytest.approx(truth, rel=0.05)


def test_the_noise_over_the_batch_is_found_from_two_successive_gradients() -> None:
    history = torch.zeros(2)
    value = torch.zeros(1)
    for record in samples(2, 8, 4.0, 300, 1):
        a, b = torch.from_numpy(record).float()
        value, history = gradients.noise(torch.nn.functional.cosine_similarity(a, b, dim=0), history)
    assert value.item() == pytest.approx(16 / 8, rel=0.05)


def test_noise_without_signal_is_bounded_and_without_noise_zero() -> None:
    value, history = gradients.noise(torch.tensor([-0.2]), torch.zeros(2))
    assert value.item() == pytest.approx(1e6, rel=1e-3)
    value, _ = gradients.noise(torch.tensor([math.nan]), history)
    assert value.item() == pytest.approx(1e6, rel=1e-3)
    assert gradients.noise(torch.tensor([math.nan]), torch.zeros(2))[0].isnan().all()
    same = torch.tensor(3.0)
    assert gradients.signal(4 * same, 16 * same, 4).item() == pytest.approx(1)
    assert gradients.noise(torch.ones(1), torch.zeros(2))[0].item() == 0
    assert gradients.signal(torch.zeros(()), torch.zeros(()), 4).item() == 0


# -- gradient matrices ------------------------------------------------------------------------------------------------


def participation(matrix: np.ndarray) -> float:
    values = np.linalg.svd(matrix, compute_uv=False) ** 2
    return float(values.sum() ** 2 / (values**2).sum())


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (1, 9), (200, 64)])
@pytest.mark.parametrize("scale", [1.0, 1e-15])
def test_the_rank_of_a_small_gradient_is_exact(shape: tuple[int, int], scale: float) -> None:
    matrix = torch.randn(*shape, generator=G) @ torch.diag(torch.arange(1.0, shape[1] + 1) ** -1)
    expected = participation(matrix.double().numpy())
    assert gradients.participation(matrix * scale).item() == pytest.approx(expected, rel=1e-4)


def test_the_rank_of_a_large_gradient_is_estimated_without_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "ROWS", 48)
    found, expected = [], []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        rank = torch.randn(200, 20, generator=generator) @ torch.randn(20, 240, generator=generator)
        found.append(gradients.participation(rank).item())
        expected.append(participation(rank.double().numpy()))
    assert np.mean(found) == pytest.approx(np.mean(expected), rel=0.04)
    iso = torch.randn(240, 200, generator=G)
    assert gradients.participation(iso).item() == pytest.approx(participation(iso.double().numpy()), rel=0.1)


def test_the_rank_in_degenerate_cases() -> None:
    one = torch.outer(torch.arange(1.0, 9), torch.ones(5))
    assert gradients.participation(one).item() == pytest.approx(1)
    assert gradients.participation(torch.zeros(8, 5)).item() == 0
    assert gradients.participation(one.bfloat16()).item() == pytest.approx(1, rel=1e-3)
    one[2, 2] = math.nan
    assert gradients.participation(one).isnan()


def test_rows_of_a_gradient_are_dormant_against_the_mean_of_their_matrix() -> None:
    first = torch.randn(40, 6, generator=G)
    first[:8] *= 1e-4
    second = 1e6 * torch.randn(10, 3, 2, generator=G)
    second[0] = 0
    rank, share = gradients.matrices([first, second]).tolist()
    assert share == pytest.approx(9 / 50)
    both = [participation(first.double().numpy()), participation(second.flatten(1).double().numpy())]
    assert rank == pytest.approx(np.mean(both), rel=1e-4)
    assert gradients.matrices([torch.zeros(4, 4)]).tolist() == [0, 1]
    first[0, 0] = math.nan
    assert gradients.matrices([first]).isnan().all()


# -- Adam -------------------------------------------------------------------------------------------------------------


def adam(gradient: Tensor, first: Tensor, second: Tensor, step: int, **constants: float) -> list[float]:
    given = {"beta": 0.99, "epsilon": 1e-8, **constants}
    direction = sketch.scaled(gradient)
    values = moments_of_adam.measure(
        gradient, first, second, torch.tensor(float(step)), direction, BY, **given
    )
    return values.tolist()


@pytest.mark.parametrize("step", [1, 7, 5000])
def test_adams_moments_against_the_definitions(step: int) -> None:
    gradient, first = two(0), two(1)
    second = two(2).square() * (1 - 0.99**step)
    gradient[0, 3] = 1e4
    gradient[1, 1] = 700.0
    second[0, 10:15] = 1e-20 * (1 - 0.99**step)
    second[1, 1] = 0.1 * (1 - 0.99**step)
    second[1, 2] = 0
    expected: list[list[float]] = [[], [], [], []]
    for g, m, v in parts(gradient, first, second):
        after = (0.99 * v + 0.01 * g**2) / (1 - 0.99 ** (step + 1))
        before = v / (1 - 0.99**step)
        expected[0].append(math.sqrt(np.mean(g**2 / np.maximum(after, 1e-16))))
        expected[1].append(float(np.mean((g**2 > 5000 * before) & (v > 0))))
        expected[2].append(float(np.mean(np.sqrt(before) < 1e-7)))
        expected[3].append(cosine(g, m))
    assert adam(gradient, first, second, step) == pytest.approx(
        np.ravel(expected).tolist(), rel=1e-4, abs=1e-6
    )
    assert expected[1][0] > 0
    assert expected[2][1] > 0


def test_adams_moments_follow_the_gradient_of_a_steady_run() -> None:
    first, second = torch.zeros(2, 50), torch.zeros(2, 50)
    for step in range(1, 400):
        gradient = two(step)
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
    assert adam(two(0), first, second, 399)[:3] == pytest.approx([1, 1, 1], abs=0.25)
    assert adam(two(0), first, second, 399)[3:9] == [0] * 6
    assert min(adam(30 * two(0), first, second, 399)[:3]) > 2.3


def test_adams_degenerate_cases() -> None:
    zero, some = torch.zeros(2, 50), two(0)
    assert adam(zero, zero, zero, 1) == [0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert all(math.isfinite(value) for value in adam(some, some, some**2, 0))  # state that has not been used
    assert all(math.isfinite(value) for value in adam(some, some, some**2, 3, epsilon=0.0))
    second = some**2
    second[0, 0] = math.nan
    assert [math.isnan(value) for value in adam(some, some, second, 3)[:3]] == [True, False, True]
    second[0, 0] = math.inf  # such a weight does not move again; the count of what is not finite tells
    assert all(math.isfinite(value) for value in adam(some, some, second, 3))


# -- clipping ---------------------------------------------------------------------------------------------------------


def test_clipping_is_read_at_every_step() -> None:
    norms = [0.5, 2.0, 0.7, math.inf, 0.9, 3.0, 0.1]
    history = torch.zeros(2)
    seen: list[float] = []
    for chunk in (norms[:3], norms[3:4], norms[4:]):
        values, history = clipping.measure(torch.tensor(chunk), history, 0.8)
        finite = [x for x in chunk if math.isfinite(x)]
        weights = [0.999**age for age in range(len(seen))][::-1]
        kept = [(w, x) for w, x in zip(weights, seen, strict=True) if math.isfinite(x)]
        average = sum(w * x for w, x in kept) / sum(w for w, _ in kept) if kept else None
        nothing = not finite
        expected = [
            chunk[-1],
            math.nan if nothing else max(finite),
            math.nan if nothing else 1.0 if average is None else max(finite) / average,
            math.nan if nothing else sum(x > 0.8 for x in finite) / len(finite),
        ]
        assert values.tolist() == pytest.approx(expected, nan_ok=True, rel=1e-5)
        seen += chunk


def test_clipping_takes_the_limit_as_a_tensor_too() -> None:
    values, _ = clipping.measure(torch.tensor([1.0, 3.0]), torch.zeros(2), torch.tensor(2.0))  # type: ignore[arg-type]
    assert values.tolist() == [3, 3, 1, 0.5]


# -- several losses ---------------------------------------------------------------------------------------------------


def test_losses_are_compared_two_by_two() -> None:
    a, b, c = two(0), 1e-12 * two(1), torch.zeros(2, 50)
    values = torch.tensor(conflict.measure([a, b, c], BY).tolist()).view(2, 3, 3)
    assert conflict.pairs("abc") == [("a", "b"), ("a", "c"), ("b", "c")]
    expected = [cosine(x, y) for x, y in parts(a, b)]
    assert values[0].tolist() == [pytest.approx(expected, abs=1e-5), [0, 0, 0], [0, 0, 0]]
    ratios = [np.linalg.norm(x) / np.linalg.norm(y) for x, y in parts(a, b)]
    assert values[1, 0].tolist() == pytest.approx(ratios, rel=1e-5)
    assert values[1, 1].tolist() == [math.inf] * 3
    assert conflict.measure([c, a], BY).tolist() == [0] * 6


# -- curvature --------------------------------------------------------------------------------------------------------


def with_spectrum(values: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(len(values), len(values))))
    return (basis * values) @ basis.T


@pytest.mark.parametrize(
    "diagonal", [[3.0, 1.0, 0.2], [-5.0, -1.0, -2.0], [1.0, 1.0, 1.0], [4.0], [0.0, 0.0], [1e-12, 3e-12]]
)
def test_the_largest_eigenvalue_of_a_tridiagonal_matrix(diagonal: list[float]) -> None:
    beside = [abs(x) / 3 for x in diagonal[1:]]
    matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    found, vector = curvature.largest(torch.tensor(diagonal), torch.tensor(beside))
    assert torch.linalg.vector_norm(vector).nan_to_num(1.0).item() == pytest.approx(1.0)
    assert found.item() == pytest.approx(np.linalg.eigvalsh(matrix).max(), rel=1e-4, abs=1e-20)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_ten_products_find_the_sharpness(scale: float) -> None:
    errors = []
    for seed in range(8):
        values = scale * np.concatenate(
            [[10.0, 6.0, -3.0], np.random.default_rng(seed).exponential(0.3, 157)]
        )
        matrix = torch.from_numpy(with_spectrum(values, seed)).float()
        start = torch.randn(160, generator=torch.Generator().manual_seed(seed))
        top, *_ = curvature.measure(lambda v, m=matrix: m @ v, start, 10).tolist()
        errors.append(top / (10 * scale) - 1)
    assert max(errors) < 1e-3  # from below
    assert min(errors) > -0.02


def test_the_trace_is_right_on_average() -> None:
    values = np.linspace(-1, 4, 60)
    matrix = torch.from_numpy(with_spectrum(values)).float()
    found = [
        curvature.measure(
            lambda v: matrix @ v, torch.randn(60, generator=torch.Generator().manual_seed(seed)), 1
        )[1].item()
        for seed in range(400)
    ]
    assert np.mean(found) == pytest.approx(values.sum(), rel=0.03)


def test_curvature_in_degenerate_cases() -> None:
    start = torch.ones(3)
    assert curvature.measure(lambda v: 0 * v, start, 10).tolist() == [0, 0, 0]
    assert curvature.measure(lambda v: 2 * v, start, 10).tolist() == pytest.approx(
        [2, 6, 0], rel=1e-5, abs=1e-6
    )
    assert curvature.measure(lambda v: -2 * v, torch.ones(1), 10).tolist() == pytest.approx([-2, -2, 0])
    assert curvature.measure(lambda v: v * math.nan, start, 3).isnan().all()
