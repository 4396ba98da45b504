"""The logit pass against the definitions of entropy, varentropy, top probability and log-sum-exp in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from foreshock.measure.statistics import masked, policy, tokens
from foreshock.measure.statistics.policy_readings import Batch

torch.set_num_threads(1)
NOT_MANY = 4096  # vocabulary of the accuracy tests


def definition(logits: list[float]) -> tuple[float, float, float, float]:
    """−Σ p ln p, Var[−ln p], max p, ln Σ exp z of one token, in float64."""
    peak = max(logits)
    lse = peak + math.log(math.fsum(math.exp(z - peak) for z in logits))
    surprise = [(math.exp(z - lse), lse - z) for z in logits if z != -math.inf]
    entropy = math.fsum(p * s for p, s in surprise)
    varentropy = math.fsum(p * (s - entropy) ** 2 for p, s in surprise)
    return entropy, varentropy, math.exp(peak - lse), lse


def by_definition(logits: Tensor) -> NDArray[np.float64]:
    return np.array([definition(row) for row in logits.double().tolist()]).T


def typical(rows: int, vocabulary: int, *, peak: float, std: float = 2.0, offset: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, vocabulary, generator=generator) * std
    logits[:, 7] += peak
    return logits + offset


# Twice the largest errors that the specification allows, in nats, at a vocabulary of 151 936.
@pytest.mark.parametrize(
    ("name", "logits", "allowed"),
    [
        ("flat", typical(24, NOT_MANY, peak=0, std=0.1), 2 * 9e-7),
        ("typical", typical(24, NOT_MANY, peak=12), 2 * 2e-6),
        ("peaked", typical(24, NOT_MANY, peak=22), 2 * 9e-7),
        ("almost certain", typical(24, NOT_MANY, peak=40), 2 * 9e-7),
        ("offset by 200", typical(24, NOT_MANY, peak=12, offset=200), 2 * 2e-6),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_entropy_is_as_exact_as_the_specification_promises(
    name: str, logits: Tensor, allowed: float, dtype: torch.dtype
) -> None:
    logits = logits.to(dtype)
    entropy, varentropy, top, lse = by_definition(logits)
    ours = tokens.scan(logits, columns=1024).double().numpy()
    assert np.abs(ours[0] - entropy).max() <= allowed
    assert np.allclose(ours[1], varentropy, rtol=2 * 8e-6, atol=1e-6)
    assert np.abs(ours[2] - top).max() <= 2e-6
    assert np.allclose(ours[3], lse, rtol=1e-6)


def squares_by_definition(logits: Tensor) -> NDArray[np.float64]:
    """Σp² and Σp² ln p of every token, in float64."""
    logp = logits.double().log_softmax(1)
    p2 = logp.mul(2).exp()
    return torch.stack([p2.sum(1), (p2 * logp.clamp_min(-1e3)).sum(1)]).numpy()


@pytest.mark.parametrize("columns", [7, 64, 5000])
@pytest.mark.parametrize("peak", [0, 5, 22, 40])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_sums_of_squares_are_those_of_the_definition(
    columns: int, peak: float, dtype: torch.dtype
) -> None:
    logits = typical(8, 1000, peak=peak).to(dtype)
    logits[2, :500] = -math.inf
    ours = tokens.scan(logits, squares=True, columns=columns)
    assert torch.equal(ours[:4], tokens.scan(logits, columns=columns))
    assert np.allclose(ours[4:].double().numpy(), squares_by_definition(logits), rtol=3e-6, atol=4e-6)


def test_the_sums_of_squares_of_a_certain_a_flat_and_a_broken_token() -> None:
    logits = torch.zeros(4, 10)
    logits[0, 3] = 1000.0
    logits[2, 1] = math.nan
    logits[3] = -math.inf
    ours = tokens.scan(logits, squares=True, columns=4)[4:]
    assert ours[:, 0].tolist() == [1.0, 0.0]
    assert ours[:, 1].tolist() == pytest.approx([0.1, -math.log(10) / 10], rel=1e-6)
    assert ours[:, 2:].isnan().all()


def test_impossible_tokens_contribute_nothing() -> None:
    logits = typical(8, 1000, peak=3)
    logits[:, 100:] = -math.inf
    logits[3, :] = -math.inf
    logits[3, 17] = 5.0  # one possible token: entropy 0
    ours = tokens.scan(logits, columns=64)
    entropy, varentropy, _, _ = by_definition(logits[:, :100])
    assert np.abs(ours[0].double().numpy() - entropy).max() <= 2e-6
    assert np.allclose(ours[1].double().numpy(), varentropy, rtol=1e-4, atol=2e-6)
    assert ours[0, 3] == 0.0
    assert ours[2, 3] == 1.0


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_token_with_nan_or_infinite_logits_reads_nan_and_no_other_does(poison: float) -> None:
    logits = typical(6, 300, peak=2)
    clean = tokens.scan(logits, columns=128)
    logits[2, 250] = poison
    ours = tokens.scan(logits, columns=128)
    assert ours[:, 2].isnan().all()
    others = [0, 1, 3, 4, 5]
    assert torch.equal(ours[:, others], clean[:, others])


def test_a_token_without_any_possible_next_token_reads_nan() -> None:
    logits = typical(3, 300, peak=2)
    logits[1] = -math.inf
    assert tokens.scan(logits, columns=128)[0].isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("columns", [7, 64, 250, 999, 5000])
def test_the_size_of_a_chunk_does_not_matter(columns: int) -> None:
    logits = typical(300, 1000, peak=5)
    whole = tokens.scan(logits, columns=1000, elements=1 << 30)
    ours = tokens.scan(logits, columns=columns, elements=1)
    relative = ((ours - whole).abs() / whole.abs().clamp_min(1)).amax(1)
    assert (relative <= torch.tensor([1e-6, 8e-6, 1e-6, 1e-6])).all()  # varentropy is a difference of squares


def test_rows_picked_by_index_read_as_they_do_alone() -> None:
    logits = typical(50, 200, peak=5)
    picked = torch.tensor([3, 3, 49, 0])
    assert torch.equal(tokens.scan(logits, picked, columns=64), tokens.scan(logits[picked], columns=64))


SLICED = {
    "a slice": lambda x: x[:, 1:-2],
    "transposed": lambda x: x.transpose(0, 1),
    "every second": lambda x: x[::2],
    "a part of the vocabulary": lambda x: x[..., 3:40],
    "reversed sides": lambda x: x.permute(2, 1, 0),
    "repeated": lambda x: x[:1].expand(3, -1, -1),
}


@pytest.mark.parametrize("cut", SLICED)
def test_logits_of_any_layout_read_as_their_copy_does_and_are_not_copied(cut: str) -> None:
    logits = SLICED[cut](typical(6 * 7, 50, peak=4).reshape(6, 7, 50))
    width = logits.shape[-1]
    whole = logits.reshape(-1, width)
    assert torch.allclose(tokens.scan(logits, columns=16), tokens.scan(whole, columns=16), rtol=1e-6)
    some = torch.tensor([9, 0, 5])
    assert torch.allclose(
        tokens.scan(logits, some, columns=16), tokens.scan(whole[some], columns=16), rtol=1e-6
    )
    largest = LargestCopy(of=logits)
    with largest:
        tokens.scan(logits, columns=4, elements=1)
    assert largest.values <= 4 * len(whole)


class LargestCopy(TorchDispatchMode):
    """The size of the largest tensor made inside that is no view of the one given."""

    def __init__(self, of: Tensor) -> None:
        super().__init__()
        self.values = 0
        self._of = of.untyped_storage().data_ptr()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.untyped_storage().data_ptr() != self._of:
            self.values = max(self.values, made.numel())
        return made


def test_no_token_gives_no_reading() -> None:
    assert tokens.scan(torch.empty(0, 10)).shape == (4, 0)
    assert tokens.scan(torch.empty(0, 10), squares=True).shape == (6, 0)


def test_one_hot_and_flat_logits_read_zero_and_the_maximum() -> None:
    certain = torch.zeros(4, 10)
    certain[:, 2] = 1000.0
    assert tokens.scan(certain).T.tolist() == [[0.0, 0.0, 1.0, 1000.0]] * 4
    entropy, varentropy, top, lse = tokens.scan(torch.full((4, 10), -3.0)).T.tolist()[0]
    assert entropy == pytest.approx(math.log(10), abs=1e-6)
    assert (varentropy, top) == (0.0, pytest.approx(0.1))
    assert lse == pytest.approx(math.log(10) - 3.0)


def test_the_names_are_those_of_a_policys_first_readings() -> None:
    plan = policy.plan(policy.Inputs(Batch(frozenset({"logits"})), vocabulary=50, tokens_at_most=100))
    assert tuple(spec.statistic for spec in plan.series[: len(tokens.YIELDS)]) == tokens.YIELDS


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101])
def test_quantiles_are_those_of_numpy(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    values = torch.randn(count * 2, generator=generator)
    valid = torch.zeros(count * 2, dtype=torch.bool)
    valid[torch.randperm(count * 2, generator=generator)[:count]] = True
    levels = (0.0, 0.05, 0.5, 0.8, 1.0)
    expected = np.quantile(values[valid].double().numpy(), levels)
    assert np.allclose(
        masked.quantiles(values, valid.float(), valid.float().sum(), torch.tensor(levels)).numpy(),
        expected,
        atol=1e-6,
    )


def test_a_sample_has_no_row_twice_and_takes_masked_rows_last() -> None:
    generator = torch.Generator().manual_seed(0)
    valid = torch.rand(1000, generator=generator) > 0.5
    uniform = torch.rand(1000, generator=generator)
    picked = masked.sample(valid.float(), uniform, 300)
    assert len(picked.unique()) == 300
    assert valid[picked].all()
    everyone = masked.sample(valid.float(), uniform, int(valid.sum()) + 10)
    assert valid[everyone].sum() == valid.sum()


def test_a_sample_estimates_the_mean_without_bias() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(2000, generator=generator)
    valid = values > 0.3
    means = [
        values[masked.sample(valid.float(), torch.rand(2000, generator=generator), 100)].mean().item()
        for _ in range(200)
    ]
    assert np.mean(means) == pytest.approx(
        values[valid].mean().item(), abs=4 * np.std(means) / math.sqrt(200)
    )
