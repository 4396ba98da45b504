"""Covariance, divergences, spreads, clipping, reward groups and answers, each against its definition in float64."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from tests.sdk.policy_twin import measured
from torch import Tensor

from foreshock.measure.statistics.policy_readings import Clip

torch.set_num_threads(1)


def draw(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logp = -torch.rand(count, generator=generator) * 4
    advantage = torch.randn(count, generator=generator) * 2
    weight = (torch.rand(count, generator=generator) > 0.25).float()
    return logp, advantage, weight


def kept(values: Tensor, weight: Tensor) -> list[float]:
    return [value for value, ok in zip(values.double().tolist(), weight.tolist(), strict=True) if ok]


def told(logp: Tensor, weight: Tensor, clip: Clip | None = None, **others: Tensor) -> dict[str, float]:
    """What is read of tokens whose log-probabilities are given; their logits tell nothing."""
    given = {"logits": torch.zeros(1, len(logp), 2), "valid": weight > 0, "logprobs": logp, **others}
    return measured(given) if clip is None else measured(given, clip=clip)


COVARIANCE = ("policy_cov", "policy_cov_above_1", "policy_cov_above_5")


def covariance(logp: Tensor, advantage: Tensor, weight: Tensor) -> list[float]:
    """Covariance and its tail shares."""
    found = told(logp, weight, advantages=advantage)
    return [found[name] for name in COVARIANCE]


def divergence(logp: Tensor, other: Tensor, weight: Tensor) -> list[float]:
    """k1, k2, k3, the same whether alone or beside another policy and advantages."""
    alone = told(logp, weight, ref_logprobs=other)
    beside = told(logp, weight, ref_logprobs=other, old_logprobs=other, advantages=torch.zeros_like(logp))
    for name in ("kl_ref_k1", "kl_ref_k2", "kl_ref_k3"):
        assert alone[name] == pytest.approx(beside[name], rel=1e-6, nan_ok=True)
    assert beside["kl_old_k3"] == pytest.approx(alone["kl_ref_k3"], rel=1e-6, nan_ok=True)
    return [alone[f"kl_ref_{k}"] for k in ("k1", "k2", "k3")]


@pytest.mark.parametrize("count", [2, 17, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_covariance_and_its_tail_shares_agree_with_the_definition(count: int, dtype: torch.dtype) -> None:
    logp, advantage, weight = draw(count)
    weight[:2] = 1
    logp, advantage = logp.to(dtype), advantage.to(dtype)
    a, b = kept(logp, weight), kept(advantage, weight)
    centre_a, centre_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    products = [(x - centre_a) * (y - centre_b) for x, y in zip(a, b, strict=True)]
    expected = [
        math.fsum(products) / len(products),
        sum(p > 1 for p in products) / len(products),
        sum(p > 5 for p in products) / len(products),
    ]
    assert covariance(logp, advantage, weight) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_covariance_does_not_mind_a_large_offset() -> None:
    logp, advantage, weight = draw(500)
    plain = covariance(logp, advantage, weight)[0]
    assert covariance(logp - 1000, advantage + 500, weight)[0] == pytest.approx(plain, rel=1e-3)


def test_covariance_leaves_out_what_is_not_finite() -> None:
    logp, advantage, weight = draw(100)
    clean = covariance(logp[2:], advantage[2:], weight[2:])
    logp[0], advantage[1] = -math.inf, math.nan
    assert covariance(logp, advantage, weight) == pytest.approx(clean, rel=1e-6)
    found = told(logp, torch.ones(100), advantages=advantage)
    assert found["nonfinite_count{place=policy,tensor=signal}"] == 2
    assert found["nonfinite_count{place=policy,tensor=logits}"] == 0
    logp[:60] = math.nan
    assert all(math.isnan(value) for value in covariance(logp, advantage, torch.ones(100)))


def test_half_of_the_tokens_are_enough_and_less_are_not() -> None:
    logp, advantage, _ = draw(100)
    logp[:50] = math.nan
    assert math.isfinite(covariance(logp, advantage, torch.ones(100))[0])
    logp[50] = math.nan
    assert math.isnan(covariance(logp, advantage, torch.ones(100))[0])


def test_covariance_of_equal_advantages_is_zero_and_of_no_token_nan() -> None:
    logp, _, weight = draw(50)
    assert covariance(logp, torch.full((50,), 0.1), weight)[0] == pytest.approx(0, abs=1e-7)
    assert all(math.isnan(value) for value in covariance(logp, logp, torch.zeros(50)))


def test_divergences_have_the_sign_of_the_policy_and_the_forms_of_the_source() -> None:
    logp, other, weight = draw(400)
    other = logp + 0.3 * other
    k1 = [min(20, max(-20, a - b)) for a, b in zip(kept(logp, weight), kept(other, weight), strict=True)]
    expected = [
        math.fsum(k1) / len(k1),
        math.fsum(k * k / 2 for k in k1) / len(k1),
        math.fsum(math.exp(-k) - 1 + k for k in k1) / len(k1),
    ]
    assert divergence(logp, other, weight) == pytest.approx(expected, rel=1e-5)


def test_divergence_of_a_policy_from_itself_is_exactly_zero() -> None:
    logp, _, weight = draw(100)
    assert divergence(logp, logp, weight) == [0.0, 0.0, 0.0]


def test_small_divergences_keep_their_digits() -> None:
    logp, other, weight = draw(100)
    other = logp.double() + 1e-3 * other
    k1 = np.array(kept(logp, weight)) - np.array(kept(other.float(), weight))
    k3 = np.mean(np.exp(-k1) - 1 + k1)
    assert divergence(logp, other.float(), weight)[2] == pytest.approx(k3, rel=1e-3)


def test_an_impossible_reference_token_is_clamped_and_nan_left_out() -> None:
    weight = torch.ones(4)
    logp = torch.tensor([-1.0, -1.0, -1.0, math.nan])
    other = torch.tensor([-math.inf, -1.0, -1.0, -1.0])
    assert divergence(logp, other, weight)[0] == pytest.approx(20 / 3)


def test_divergence_estimates_match_the_exact_divergence_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    q = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)
    taken = torch.multinomial(p, 200_000, replacement=True, generator=generator)
    exact = (p * (p / q).log()).sum().item()
    given = {
        "logits": p.log().float().expand(1, len(taken), 3),
        "ref_logits": q.log().float().expand(1, len(taken), 3),
        "valid": torch.ones(len(taken), dtype=torch.bool),
        "actions": taken,
        "ref_logprobs": q.log()[taken],
    }
    found = measured(given)
    assert found["kl_ref_exact"] == pytest.approx(exact, rel=1e-5)
    assert found["kl_ref_k1"] == pytest.approx(exact, abs=2e-3)
    assert found["kl_ref_k3"] == pytest.approx(exact, abs=2e-4)
    assert found["kl_ref_k2"] == pytest.approx(exact, rel=0.1)  # biased, in the second order only


def test_a_reference_that_excludes_a_token_is_twenty_nats_away() -> None:
    logits = torch.zeros(1, 2, 2)
    other = torch.tensor([[[0.0, -math.inf], [0.0, 0.0]]])
    given = {"logits": logits, "ref_logits": other, "valid": torch.ones(2, dtype=torch.bool)}
    found = measured(given)
    assert found["kl_ref_exact"] == pytest.approx(10.0)
    assert found["kl_ref_clamped{estimate=exact}"] == 0.5


def test_a_ratio_at_the_bound_is_not_clipped_and_beyond_it_is() -> None:
    old = torch.log(torch.tensor([0.5, 0.5, 0.5, 0.5, 0.5, 0.5]))
    ratio = torch.tensor([1.19, 1.21, 1.29, 0.81, 0.79, 3.1])
    advantage = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])
    found = told(
        old + ratio.log(), torch.ones(6), Clip(0.2, 0.28, 3.0), old_logprobs=old, advantages=advantage
    )
    assert found["clip_high"] == pytest.approx(1 / 6)  # 1.29 alone
    assert found["clip_low"] == pytest.approx(1 / 6)
    assert found["clip_dual"] == pytest.approx(1 / 6)
    assert found["importance_ratio_max"] == pytest.approx(3.1, rel=1e-5)
    assert sum(found[f"clip_bucket{{old={b},side=high}}"] for b in ("0.1-0.9", "above-0.9")) == pytest.approx(
        1 / 6
    )


def test_the_effective_sample_size_counts_the_tokens_that_carry_the_weight() -> None:
    count = 64
    old = torch.zeros(count)
    even = told(old, torch.ones(count), old_logprobs=old)
    assert even["importance_ess"] == pytest.approx(1.0)
    one = old.clone()
    one[0] = 15.0
    assert told(one, torch.ones(count), old_logprobs=old)["importance_ess"] == pytest.approx(
        1 / count, rel=1e-3
    )
    far = torch.full((count,), -500.0)  # beyond what exp() of float32 can hold
    assert told(old, torch.ones(count), old_logprobs=far)["importance_ess"] == pytest.approx(1.0)


@pytest.mark.parametrize("count", [1, 2, 50])
def test_spread_is_the_population_form(count: int) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(0)) + 1000
    found = told(torch.zeros(count), torch.ones(count), advantages=values, rewards=values)
    assert found["reward_mean"] == pytest.approx(values.double().mean().item(), rel=1e-6)
    for name in ("reward_std", "advantage_std"):
        if count < 2:
            assert math.isnan(found[name])
        else:
            assert found[name] == pytest.approx(np.std(values.double().numpy()), rel=1e-5)


# -- groups -----------------------------------------------------------------------------------------------------------


def grouped(group: Tensor | int, **of: Tensor) -> dict[str, float]:
    """What is read of groups of sequences; of their tokens nothing is known."""
    given = {"logits": torch.zeros(1, 2), "valid": torch.ones(1, dtype=torch.bool), **of}
    return measured(given, group) if isinstance(group, int) else measured({**given, "groups": group})


ZERO_VARIANCE = ("zero_variance_groups", "zero_variance_all_high", "zero_variance_all_low")


def zero_variance(rewards: Tensor, group: Tensor | int) -> list[float]:
    found = grouped(group, rewards=rewards)
    return [found[name] for name in ZERO_VARIANCE]


def by_definition(rewards: list[float], ids: list[int]) -> list[float]:
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
    assert zero_variance(rewards, ids) == pytest.approx(by_definition(rewards.tolist(), ids.tolist()))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_groups_of_one_size_read_as_numbered_ones_do(size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, 3, (24,), generator=generator).float() / 10
    rewards[5] = [math.nan, math.inf, 0.2][seed]
    correct = torch.rand(24, generator=generator) > 0.5
    answers = torch.randint(-2, 2, (24,), generator=generator)
    by_size = grouped(size, rewards=rewards, correct=correct, answers=answers)
    numbered = grouped(torch.arange(24) // size, rewards=rewards, correct=correct, answers=answers)
    for key in by_size.keys() & numbered.keys():
        assert by_size[key] == pytest.approx(numbered[key], nan_ok=True), key


def test_equal_rewards_that_float32_cannot_average_are_still_equal() -> None:
    rewards, ids = torch.full((12,), 0.1), torch.arange(12) // 4
    assert zero_variance(rewards, ids) == [1.0, 1.0, 0.0]
    assert zero_variance(torch.zeros(12), ids) == [1.0, 0.0, 1.0]
    rewards[5] += 1e-8
    assert zero_variance(rewards, ids)[0] == pytest.approx(2 / 3)


def test_high_and_low_are_told_apart_by_the_middle_of_the_batch() -> None:
    rewards = torch.tensor([-1.0, -1, 1, 1, 0, 1])
    share = zero_variance(rewards, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert share == pytest.approx([2 / 3, 1 / 3, 1 / 3])


def test_a_group_of_one_and_a_group_with_nan_are_not_counted() -> None:
    rewards = torch.tensor([1.0, 1, math.nan, 1, 1, 0, 1])
    ids = torch.tensor([0, 0, 1, 1, 2, 2, 3])
    assert zero_variance(rewards, ids) == pytest.approx([0.5, 0.5, 0.0])
    assert all(math.isnan(value) for value in zero_variance(torch.ones(3), torch.arange(3)))


def test_the_quantiles_of_groups_are_means_over_groups_of_any_size() -> None:
    held = {5: [0.25, -1.0, 3.0], -7: [2.0], 10**12: [0.5, 0.5], 0: [4.0, 1.0, 1.5, 9.0, -2.0]}
    pairs = [(number, reward) for number, rewards in held.items() for reward in rewards]
    pairs += [(8, 7.0), (8, math.nan), (9, -math.inf), (9, 1e9)]  # these two are not counted
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    numbers, rewards = zip(*(pairs[index] for index in order), strict=True)
    found = grouped(torch.tensor(numbers), rewards=torch.tensor(rewards))
    counted = [rewards for rewards in held.values() if len(rewards) > 1]
    for percent in (10, 50, 90):
        expected = np.mean([np.quantile(rewards, percent / 100) for rewards in counted])
        assert found[f"group_reward_p{percent}"] == pytest.approx(expected, rel=1e-6)


def test_mostly_nan_rewards_read_nan() -> None:
    rewards = torch.tensor([1.0, 1, math.nan, math.nan, math.nan])
    found = grouped(torch.tensor([0, 0, 1, 1, 1]), rewards=rewards)
    assert math.isnan(found["zero_variance_groups"])
    assert math.isnan(found["reward_mean"])
    assert math.isnan(found["reward_p50"])
    assert found["nonfinite_count{place=policy,tensor=rewards}"] == 3


@pytest.mark.parametrize("size", [2, 5, 16, 64, 100])
def test_pass_at_k_is_the_exact_fraction_of_subsets_with_a_right_answer(size: int) -> None:
    groups = 6
    solved = [0, 1, size // 2, size - 1, size, 1]
    correct = torch.zeros(groups, size, dtype=torch.bool)
    for number, count in enumerate(solved):
        correct[number, torch.randperm(size, generator=torch.Generator().manual_seed(number))[:count]] = True
    found = grouped(size, correct=correct.view(-1))
    ks = [int(key[len("pass_at{k=") : -1]) for key in found if key.startswith("pass_at")]
    assert ks == [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= size]
    for k in ks:
        exact = sum(1 - math.comb(size - c, k) / math.comb(size, k) for c in solved) / groups
        assert found[f"pass_at{{k={k}}}"] == pytest.approx(exact, rel=4e-7)
    assert found["solved_by_any"] == pytest.approx(5 / 6)


def test_without_a_verdict_an_answer_with_a_high_reward_is_right() -> None:
    rewards = torch.tensor([-1.0, 1, -1, -1, 1, 1])
    found = grouped(3, rewards=rewards)
    assert found["pass_at{k=1}"] == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert found["solved_by_any"] == 1.0
    assert grouped(3, rewards=torch.zeros(6))["solved_by_any"] == 0.0


def test_groups_too_small_for_k_do_not_count_towards_it() -> None:
    correct = torch.tensor([True, False, True, False, False])
    found = grouped(torch.tensor([0, 0, 1, 1, 1]), correct=correct)
    assert found["pass_at{k=1}"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert found["pass_at{k=2}"] == pytest.approx((1 + 2 / 3) / 2)
    assert math.isnan(found["pass_at{k=4}"])


def test_answers_are_counted_within_their_group() -> None:
    big = 2**62
    answers = torch.tensor([big, 1, big, 1, 1, -big, -big, 3])
    found = grouped(torch.tensor([0, 0, 0, 1, 1, 2, 2, 3]), answers=answers)
    assert found["unique_answers"] == pytest.approx((2 + 1 + 1) / 3)  # a group of one says nothing
    entropy = -(2 / 3) * math.log(2 / 3) - (1 / 3) * math.log(1 / 3)
    assert found["answer_entropy"] == pytest.approx(entropy / 3)
