"""Covariance, divergences, spreads and reward groups against their definitions, written as loops in float64."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from torch import Tensor

from foreshock.measure.statistics import groups, policy, signal, tokens

torch.set_num_threads(1)
LEVELS = torch.tensor(tokens.LEVELS)


def draw(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logp = -torch.rand(count, generator=generator) * 4
    advantage = torch.randn(count, generator=generator) * 2
    weight = (torch.rand(count, generator=generator) > 0.25).float()
    return logp, advantage, weight


def kept(values: Tensor, weight: Tensor) -> list[float]:
    return [value for value, ok in zip(values.double().tolist(), weight.tolist(), strict=True) if ok]


def covariance(logp: Tensor, advantage: Tensor, weight: Tensor) -> Tensor:
    """Covariance and its tail shares."""
    return signal.tokens(logp, advantage, {}, weight)[0]


def divergence(logp: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    """k1, k2, k3, the same whether alone or beside another policy and advantages."""
    alone = dict(
        zip(signal.divergences(["ref"]), signal.tokens(logp, None, {"ref": other}, weight)[0], strict=True)
    )
    names = [*signal.COVARIANCE, *signal.divergences(["ref", "old"])]
    sound = torch.zeros_like(logp)
    both, _ = signal.tokens(logp, sound, {"ref": other, "old": other}, weight)
    together = dict(zip(names, both, strict=True))
    assert all(torch.equal(together[name], alone[name]) for name in alone if not alone[name].isnan())
    assert torch.equal(together["kl_old_k3"], together["kl_ref_k3"]) or alone["kl_ref_k3"].isnan()
    return torch.stack([alone[f"kl_ref_{k}"] for k in ("k1", "k2", "k3")])


def spread(values: Tensor, weight: Tensor) -> Tensor:
    """Mean and deviation of one row, the same beside another."""
    alone = signal.spread(values.unsqueeze(0), weight)[0].squeeze(1)
    beside = signal.spread(torch.stack([values * 3, values]), weight)[0][:, 1]
    assert torch.allclose(alone, beside, equal_nan=True)
    return alone


@pytest.mark.parametrize("count", [2, 17, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_covariance_and_its_tail_shares_agree_with_the_definition(count: int, dtype: torch.dtype) -> None:
    logp, advantage, weight = draw(count)
    weight[:2] = 1
    logp, advantage = logp.to(dtype).float(), advantage.to(dtype).float()
    a, b = kept(logp, weight), kept(advantage, weight)
    centre_a, centre_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    products = [(x - centre_a) * (y - centre_b) for x, y in zip(a, b, strict=True)]
    expected = [
        math.fsum(products) / len(products),
        sum(p > 1 for p in products) / len(products),
        sum(p > 5 for p in products) / len(products),
    ]
    assert covariance(logp, advantage, weight).tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_covariance_does_not_mind_a_large_offset() -> None:
    logp, advantage, weight = draw(500)
    plain = covariance(logp, advantage, weight)[0].item()
    assert covariance(logp - 1000, advantage + 500, weight)[0].item() == pytest.approx(plain, rel=1e-3)


def test_covariance_leaves_out_what_is_not_finite() -> None:
    logp, advantage, weight = draw(100)
    clean = covariance(logp[2:], advantage[2:], weight[2:])
    logp[0], advantage[1] = -math.inf, math.nan
    assert torch.allclose(covariance(logp, advantage, weight), clean, rtol=1e-6)
    assert signal.tokens(logp, advantage, {}, torch.ones(100))[1].tolist() == [2]
    logp[:60] = math.nan
    assert covariance(logp, advantage, torch.ones(100)).isnan().all()


def test_covariance_of_equal_advantages_is_zero_and_of_no_token_nan() -> None:
    logp, _, weight = draw(50)
    assert covariance(logp, torch.full((50,), 0.1), weight)[0].item() == pytest.approx(0, abs=1e-7)
    assert covariance(logp, logp, torch.zeros(50)).isnan().all()


def test_divergences_have_the_sign_of_the_policy_and_the_forms_of_the_source() -> None:
    logp, other, weight = draw(400)
    other = logp + 0.3 * other
    k1 = [min(20, max(-20, a - b)) for a, b in zip(kept(logp, weight), kept(other, weight), strict=True)]
    expected = [
        math.fsum(k1) / len(k1),
        math.fsum(k * k / 2 for k in k1) / len(k1),
        math.fsum(math.exp(-k) - 1 + k for k in k1) / len(k1),
    ]
    assert divergence(logp, other, weight).tolist() == pytest.approx(expected, rel=1e-5)


def test_divergence_of_a_policy_from_itself_is_exactly_zero() -> None:
    logp, _, weight = draw(100)
    assert divergence(logp, logp, weight).tolist() == [0.0, 0.0, 0.0]


def test_small_divergences_keep_their_digits() -> None:
    logp, other, weight = draw(100)
    other = logp.double() + 1e-3 * other
    k1 = np.array(kept(logp, weight)) - np.array(kept(other.float(), weight))
    k3 = np.mean(np.exp(-k1) - 1 + k1)
    assert divergence(logp, other.float(), weight)[2].item() == pytest.approx(k3, rel=1e-3)


def test_an_impossible_reference_token_is_clamped_and_nan_left_out() -> None:
    weight = torch.ones(4)
    logp = torch.tensor([-1.0, -1.0, -1.0, math.nan])
    other = torch.tensor([-math.inf, -1.0, -1.0, -1.0])
    assert divergence(logp, other, weight)[0].item() == pytest.approx(20 / 3)


def test_divergence_estimates_match_the_exact_divergence_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    q = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)
    taken = torch.multinomial(p, 200_000, replacement=True, generator=generator)
    exact = (p * (p / q).log()).sum().item()
    weight = torch.ones(len(taken))
    k1, k2, k3 = divergence(p.log()[taken].float(), q.log()[taken].float(), weight).tolist()
    assert k1 == pytest.approx(exact, abs=2e-3)
    assert k3 == pytest.approx(exact, abs=2e-4)
    assert k2 == pytest.approx(exact, rel=0.1)  # biased, in the second order only


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_spread_is_the_population_form(count: int) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(0)) + 1000
    mean, deviation = spread(values, torch.ones(count)).tolist()
    if count == 0:
        assert math.isnan(mean)
    else:
        assert mean == pytest.approx(np.mean(values.double().numpy()), rel=1e-6)
    if count < 2:
        assert math.isnan(deviation)
    else:
        assert deviation == pytest.approx(np.std(values.double().numpy()), rel=1e-3)


def test_the_log_probability_is_that_of_the_token_taken() -> None:
    logits = torch.randn(20, 9, generator=torch.Generator().manual_seed(0))
    actions = torch.arange(20) % 9
    expected = torch.log_softmax(logits.double(), -1)[torch.arange(20), actions]
    ours = signal.chosen(logits, actions) - tokens.scan(logits)[3]
    assert torch.allclose(ours.double(), expected, atol=1e-5)
    actions[3], actions[4] = -100, 9
    assert signal.chosen(logits, actions).isnan().nonzero().flatten().tolist() == [3, 4]


# -- groups -----------------------------------------------------------------------------------------------------------


def zero_variance(rewards: list[float], ids: list[int]) -> list[float]:
    """Shares of groups of two or more with equal rewards: all, high, low; the definition as a dictionary."""
    members: dict[int, list[float]] = defaultdict(list)
    for reward, group in zip(rewards, ids, strict=True):
        members[group].append(reward)
    counted = [m for m in members.values() if len(m) >= 2 and all(math.isfinite(r) for r in m)]
    finite = [r for r in rewards if math.isfinite(r)]
    middle = (min(finite) + max(finite)) / 2
    same = [m for m in counted if min(m) == max(m)]
    high = [m for m in same if (m[0] > 0 if min(finite) == max(finite) else m[0] >= middle)]
    return [len(same) / len(counted), len(high) / len(counted), (len(same) - len(high)) / len(counted)]


@pytest.mark.parametrize("seed", range(5))
def test_zero_variance_groups_are_found_whatever_their_numbers_and_order(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    names = [-5, 0, 7, 10**12, 3, -(10**15)]
    ids = torch.tensor([names[int(i)] for i in torch.randint(len(names), (40,), generator=generator)])
    rewards = (torch.rand(40, generator=generator) > 0.2).float()
    expected = zero_variance(rewards.tolist(), ids.tolist())
    assert groups.zero_variance(rewards, ids).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_groups_of_one_size_read_as_numbered_ones_do(size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, 3, (24,), generator=generator).float() / 10
    rewards[5] = [math.nan, math.inf, 0.2][seed]
    by_size = groups.zero_variance(rewards, size)
    numbered = groups.zero_variance(rewards, torch.arange(24) // size)
    assert torch.equal(by_size, numbered) or (size == 1 and by_size.isnan().all() and numbered.isnan().all())


def test_equal_rewards_that_float32_cannot_average_are_still_equal() -> None:
    rewards, ids = torch.full((12,), 0.1), torch.arange(12) // 4
    assert groups.zero_variance(rewards, ids).tolist() == [1.0, 1.0, 0.0]
    assert groups.zero_variance(torch.zeros(12), ids).tolist() == [1.0, 0.0, 1.0]


def test_high_and_low_are_told_apart_by_the_middle_of_the_batch() -> None:
    rewards = torch.tensor([-1.0, -1, 1, 1, 0, 1])
    share = groups.zero_variance(rewards, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert share.tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3])


def test_a_group_of_one_and_a_group_with_nan_are_not_counted() -> None:
    rewards = torch.tensor([1.0, 1, math.nan, 1, 1, 0, 1])
    ids = torch.tensor([0, 0, 1, 1, 2, 2, 3])
    assert groups.zero_variance(rewards, ids).tolist() == pytest.approx([0.5, 0.5, 0.0])
    assert groups.zero_variance(torch.ones(3), torch.arange(3)).isnan().all()
    assert groups.zero_variance(torch.ones(0), torch.arange(0)).isnan().all()


def test_mostly_nan_rewards_read_nan() -> None:
    rewards = torch.tensor([1.0, 1, math.nan, math.nan, math.nan])
    assert groups.zero_variance(rewards, torch.tensor([0, 0, 1, 1, 1])).isnan().all()


# -- all together -----------------------------------------------------------------------------------------------------


def test_the_row_of_a_policy_has_one_value_per_series_whatever_is_given() -> None:
    generator = torch.Generator().manual_seed(0)
    everything = {
        "logits": torch.randn(40, 12, generator=generator),
        "valid": torch.rand(40, generator=generator) > 0.2,
        "levels": LEVELS,
        "actions": torch.randint(0, 12, (40,), generator=generator),
        "logprobs": -torch.rand(40, generator=generator),
        "old_logprobs": -torch.rand(40, generator=generator),
        "ref_logprobs": -torch.rand(40, generator=generator),
        "advantages": torch.randn(8, generator=generator),
        "rewards": torch.rand(8, generator=generator),
        "groups": torch.arange(8) // 2,
    }
    optional = [name for name in everything if name not in ("logits", "valid", "levels")]
    for bits in range(1 << len(optional)):
        names = [name for index, name in enumerate(optional) if bits >> index & 1]
        if "groups" in names and "rewards" not in names:
            continue
        given = {name: everything[name] for name in ("logits", "valid", "levels", *names)}
        keys = [spec.key for spec in policy.series(given)]
        row = policy.measure(given, 1000)
        assert row.shape == (len(keys),), names
        assert len(set(keys)) == len(keys), names
        assert row.isfinite().all(), names


def test_advantages_per_sequence_reach_every_token_of_their_sequence() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, valid = torch.randn(4 * 6, 12, generator=generator), torch.rand(24, generator=generator) > 0.2
    actions, advantage = torch.randint(0, 12, (24,), generator=generator), torch.randn(4, generator=generator)
    short = {"logits": logits, "valid": valid, "levels": LEVELS, "actions": actions, "advantages": advantage}
    long = {**short, "advantages": advantage.repeat_interleave(6)}
    index = [spec.key for spec in policy.series(short)].index("policy_cov")
    assert policy.measure(short, 1000)[index] == policy.measure(long, 1000)[index]


def test_a_sampled_row_reads_only_the_sampled_tokens_and_reads_them_together() -> None:
    generator = torch.Generator().manual_seed(0)
    given = {
        "logits": torch.randn(500, 12, generator=generator),
        "valid": torch.rand(500, generator=generator) > 0.2,
        "levels": LEVELS,
        "actions": torch.randint(0, 12, (500,), generator=generator),
        "advantages": torch.randn(500, generator=generator),
    }
    uniform = torch.rand(500, generator=generator)
    sampled = policy.measure({**given, "uniform": uniform}, 100)
    order = torch.where(given["valid"], uniform, -1.0).topk(100).indices
    alone = policy.measure(
        {name: value if name == "levels" else value[order] for name, value in given.items()}, 1000
    )
    names = [spec.statistic for spec in policy.series(given)]
    for index, name in enumerate(names):
        if name not in ("advantage_std", "nonfinite_count"):  # those look at everything
            assert sampled[index].item() == pytest.approx(alone[index].item(), rel=1e-4, abs=1e-6), name


def test_what_is_not_finite_is_counted() -> None:
    given = {
        "logits": torch.randn(10, 5, generator=torch.Generator().manual_seed(0)),
        "valid": torch.ones(10, dtype=torch.bool),
        "levels": LEVELS,
        "actions": torch.zeros(10, dtype=torch.int64),
        "advantages": torch.ones(10),
        "rewards": torch.ones(4),
    }
    given["logits"][2, 1] = math.nan
    given["valid"][3] = False
    given["logits"][3, 1] = math.nan
    given["advantages"][:2] = math.inf
    given["rewards"][0] = math.nan
    row = dict(
        zip((spec.key for spec in policy.series(given)), policy.measure(given, 100).tolist(), strict=True)
    )
    assert row["nonfinite_count{place=policy,tensor=logits}"] == 1
    assert row["nonfinite_count{place=policy,tensor=signal}"] == 3
