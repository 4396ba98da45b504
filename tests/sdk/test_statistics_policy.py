"""The policy's row as a whole against its twin: everything given, in every group form, with hostile tokens, or only a part given."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tests.sdk.device_functions.policy import everything
from tests.sdk.policy_twin import measured, twin
from torch import Tensor

from foreshock.measure.statistics import policy
from foreshock.measure.statistics.policy_readings import Clip

torch.set_num_threads(1)
Given = dict[str, Tensor]
SOURCES = ("math", "code")
HIDDEN = ("hidden", "head", "bias")


def batch(sequences: int = 16, length: int = 12, seed: int = 0) -> Given:
    """Everything, from logits; near enough on-policy that each kind of token occurs."""
    given = everything(sequences, length)
    g = torch.Generator().manual_seed(seed)
    for name in (*HIDDEN, "logprobs", "uniform", "before"):
        del given[name]
    logits = 3 * torch.randn(given["logits"].shape, generator=g)
    logits[0] *= 8  # some tokens are certain, and of a good answer
    given["advantages"][0] = 1.0
    lp = logits.log_softmax(-1).view(-1, logits.shape[-1])
    given["logits"] = logits
    given["ref_logits"] = logits + 0.3 * torch.randn(logits.shape, generator=g)
    likely = torch.multinomial(lp.exp(), 1, generator=g).squeeze(1)
    given["actions"] = torch.where(torch.rand(len(likely), generator=g) < 0.9, likely, given["actions"])
    taken = lp.gather(1, given["actions"].unsqueeze(1)).squeeze(1)
    for name, width in (("old", 0.4), ("ref", 0.3), ("rollout", 0.5)):
        given[f"{name}_logprobs"] = taken + width * torch.randn(len(taken), generator=g)
    given["outcome"] = given["correct"]
    mixed = (
        7 * torch.arange(sequences) % sequences
    )  # not drawn: each torch draws its own, and one group is to have eight
    given["groups"] = torch.tensor([5, -3, 10**12])[(mixed > 9).long() + (mixed > 12)]
    given["answers"] = torch.tensor([7, -(10**15), 0])[torch.randint(0, 3, (sequences,), generator=g)]
    return given


def compare(given: Given, group: int | None = None, **options: object) -> dict[str, float]:
    """Both, key by key; the entropy's change since the last record apart."""
    ours = measured(given, group, sources=SOURCES, **options)  # type: ignore[arg-type]
    clip = options.get("clip", Clip())
    assert isinstance(clip, Clip)
    theirs = twin(given, group, sources=SOURCES, clip=clip)
    assert set(ours) == {*theirs, "entropy_change_measured"}
    for key, expected in theirs.items():
        assert ours[key] == pytest.approx(expected, rel=2e-5, abs=5e-6, nan_ok=True), key
    return ours


@pytest.mark.parametrize("seed", range(3))
def test_everything_agrees_with_the_definitions(seed: int) -> None:
    ours = compare(batch(seed=seed))
    several = ("clip_high", "clip_low", "spark_share", "noise_share", "mastered_positive", "mismatch_far")
    assert all(ours[key] > 0 for key in several)  # the batch has something to tell
    assert ours["entropy_change_lowering"] < 0 < ours["entropy_change_raising"]


@pytest.mark.parametrize("size", [1, 2, 4, 16])
def test_groups_of_one_size_agree_too(size: int) -> None:
    given = batch()
    del given["groups"]
    compare(given, size)


@pytest.mark.parametrize(
    "clip", [Clip(0.2, 0.28, 3.0), Clip(0.0, 0.0, 1.5), Clip(1.0, 0.5, 10.0)], ids=lambda clip: str(clip.low)
)
def test_the_bounds_of_the_loss_are_those_given(clip: Clip) -> None:
    compare(batch(), clip=clip)


def test_a_policy_that_has_not_moved_is_clipped_by_no_bounds() -> None:
    given = batch()
    given["logprobs"] = given["old_logprobs"]
    del given["actions"]
    ours = measured(given, sources=SOURCES, clip=Clip(0.0, 0.0, 1.5))
    clipped = {key: value for key, value in ours.items() if key.startswith("clip_")}
    assert clipped
    assert set(clipped.values()) == {0.0}


def _poisoned(given: Given) -> Given:
    given["logits"][1, 2, 3] = math.nan
    given["logits"][1, 3, :] = -math.inf
    given["logits"][1, 4, 0] = math.inf
    given["logits"][2, :, 5] = -math.inf  # an impossible token is no fault, unless it was taken
    given["advantages"][3] = math.nan
    given["advantages"][4] = math.inf
    given["ref_logprobs"][60] = -math.inf  # impossible under the reference: clamped
    given["old_logprobs"][61] = -math.inf
    given["rollout_logprobs"][62] = math.nan
    given["actions"][63] = -100
    given["actions"][64] = given["logits"].shape[-1]
    given["rewards"][5], given["rewards"][6] = math.nan, -math.inf
    given["ref_logits"][7, 0, :] = math.nan
    return given


def _huge(given: Given) -> Given:
    given["logits"] += 1000
    given["advantages"] += 500
    given["rewards"] += 1e6
    return given


def _flat(given: Given) -> Given:
    given["logits"] *= 0
    given["advantages"] *= 0
    given["rewards"] = torch.full_like(given["rewards"], 0.1)
    return given


@pytest.mark.parametrize("spoil", [_poisoned, _huge], ids=["not finite", "huge offsets"])
def test_hostile_batches_agree(spoil: Callable[[Given], Given]) -> None:
    given = spoil(batch())
    ours = measured(given, sources=SOURCES)
    theirs = twin(given, sources=SOURCES)
    for key, expected in theirs.items():
        loose = 1e-3 if spoil is _huge else 2e-5
        assert ours[key] == pytest.approx(expected, rel=loose, abs=loose, nan_ok=True), key


def test_a_batch_without_differences_reads_zero_and_not_noise() -> None:
    ours = measured(_flat(batch()), sources=SOURCES)
    for key in (
        "policy_cov",
        "advantage_std",
        "entropy_change_predicted",
        "entropy_change_raising",
        "reward_std",
        "group_reward_std",
        "clip_high",
        "policy_cov_above_1",
    ):
        assert ours[key] == pytest.approx(0.0, abs=1e-7), key
    assert ours["zero_variance_groups"] == 1.0
    assert ours["advantage_zero"] == 1.0
    assert math.isnan(ours["policy_cov_top"])
    assert math.isnan(ours["mastered_positive"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_and_double_precision_read_as_what_they_hold(dtype: torch.dtype) -> None:
    given = {name: x.to(dtype) if x.is_floating_point() else x for name, x in batch().items()}
    compare(given)


def test_masked_tokens_may_hold_anything() -> None:
    given = batch()
    clean = measured(given, sources=SOURCES)
    out = given["valid"].logical_not()
    given["logits"].view(-1, given["logits"].shape[-1])[out] = math.nan
    for name in ("old_logprobs", "ref_logprobs", "rollout_logprobs"):
        given[name][out] = math.inf
    given["actions"][out] = -100
    assert measured(given, sources=SOURCES) == pytest.approx(clean, rel=1e-6, abs=1e-9, nan_ok=True)


def test_nothing_valid_reads_nan_and_counts_zero() -> None:
    given = batch()
    given["valid"][:] = False
    ours = measured(given, sources=SOURCES)
    per_sequence = ("reward", "zero_variance", "group_reward", "pass_at", "solved", "unique", "answer")
    for key, value in ours.items():
        if key.startswith(("policy_tokens", "nonfinite_count")):
            assert value == 0, key
        elif key.startswith((*per_sequence, "policy_sequences")):
            assert math.isfinite(value), key
        else:
            assert math.isnan(value), key


def test_mostly_broken_tokens_read_nan() -> None:
    given = batch()
    given["old_logprobs"][: int(0.7 * len(given["old_logprobs"]))] = math.nan
    ours = measured(given, sources=SOURCES)
    assert math.isnan(ours["policy_cov"])
    assert math.isnan(ours["importance_ratio_max"])
    assert math.isfinite(ours["policy_entropy"])


def test_one_token_and_one_sequence_are_enough() -> None:
    given = batch(1, 1)
    given["valid"][:] = True
    ours = measured(given, sources=SOURCES)
    assert ours["policy_entropy"] == pytest.approx(ours["policy_entropy_p50"])
    assert ours["policy_cov"] == 0.0
    assert ours["importance_ess"] == pytest.approx(1.0)
    assert math.isnan(ours["advantage_std"])
    assert math.isnan(ours["reward_std"])


def test_the_order_of_sequences_does_not_matter() -> None:
    given = batch()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    moved = {}
    for name, x in given.items():
        by_sequence = x if x.shape[0] == 16 else x.view(16, -1)
        moved[name] = by_sequence[order].reshape(x.shape)
    ours = measured(moved, sources=SOURCES)
    assert ours == pytest.approx(measured(given, sources=SOURCES), rel=1e-5, abs=1e-7, nan_ok=True)


def test_advantages_outcomes_and_sources_reach_every_token_of_their_sequence() -> None:
    short = batch()
    longer = dict(short)
    for name in ("advantages", "sources", "outcome"):
        longer[name] = short[name].repeat_interleave(12)
    assert measured(longer, sources=SOURCES) == pytest.approx(
        measured(short, sources=SOURCES), rel=1e-6, nan_ok=True
    )


def test_every_part_of_what_can_be_given_has_its_readings() -> None:
    whole = batch()
    full = measured(whole, sources=SOURCES)
    optional = [
        "actions",
        "old_logprobs",
        "ref_logprobs",
        "rollout_logprobs",
        "advantages",
        "rewards",
        "correct",
    ]
    for bits in range(1 << len(optional)):
        names = {name for index, name in enumerate(optional) if bits >> index & 1}
        if names & {"rewards", "correct"}:
            names |= {"groups", "outcome"}
        if names >= {"rewards", "correct"}:
            names |= {"answers"}
        if "advantages" in names:
            names |= {"sources", "turns"}
        part = {name: x for name, x in whole.items() if name in names | {"logits", "valid"}}
        if "outcome" in part and "correct" not in part:
            part["outcome"] = part["rewards"]
        ours = measured(part, sources=SOURCES if "sources" in names else ())
        assert set(ours) <= set(full)
        changed = {"right", "wrong"} if "correct" not in names else set()
        for key, value in ours.items():
            mismatch = key.startswith("mismatch") and "old_logprobs" not in names
            judged = key.startswith(("pass_at", "solved")) and "correct" not in names
            if not mismatch and not judged and not any(word in key for word in changed):
                assert value == pytest.approx(full[key], rel=1e-5, abs=1e-6, nan_ok=True), (
                    sorted(names),
                    key,
                )


def test_log_probabilities_that_are_given_are_used_as_they_are() -> None:
    given = batch()
    lp = given["logits"].double().log_softmax(-1).view(-1, given["logits"].shape[-1])
    by_hand = dict(given, logprobs=lp.gather(1, given["actions"].unsqueeze(1)).squeeze(1))
    del by_hand["actions"]
    assert measured(by_hand, sources=SOURCES) == pytest.approx(
        measured(given, sources=SOURCES), rel=1e-4, abs=1e-5, nan_ok=True
    )


def test_without_the_old_policy_the_rollout_is_compared_with_the_new_one() -> None:
    given = batch()
    del given["old_logprobs"]
    lp = given["logits"].double().log_softmax(-1).view(-1, given["logits"].shape[-1])
    taken = lp.gather(1, given["actions"].unsqueeze(1)).squeeze(1)
    gap = (taken - given["rollout_logprobs"].double())[given["valid"]]
    ours = measured(given, sources=SOURCES)
    assert ours["mismatch_k3"] == pytest.approx(((-gap).expm1() + gap).mean().item(), rel=1e-4)
    assert ours["mismatch_max"] == pytest.approx(gap.abs().max().item(), rel=1e-5)


# -- hidden states -----------------------------------------------------------------------------------------------------


def test_hidden_states_and_the_output_layer_read_as_their_logits_do() -> None:
    given = batch()
    source = everything(16, 12)
    hidden = {name: source[name] for name in HIDDEN}
    logits = torch.tanh((hidden["hidden"] @ hidden["head"].t() + hidden["bias"]) / 20) * 20 / 0.7
    without = {name: x for name, x in given.items() if name not in ("logits", "ref_logits")}
    ours = measured({**without, **hidden}, sources=SOURCES, head=policy.Head(scale=1 / 0.7, softcap=20.0))
    theirs = measured({**without, "logits": logits}, sources=SOURCES)
    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5, nan_ok=True)


# -- sampled tokens ----------------------------------------------------------------------------------------------------


def test_a_sampled_row_reads_only_the_sampled_tokens_and_reads_them_together() -> None:
    given = batch(50, 10)
    given["valid"][:] = torch.rand(500, generator=torch.Generator().manual_seed(1)) > 0.2
    uniform = torch.rand(500, generator=torch.Generator().manual_seed(2))
    sampled = measured({**given, "uniform": uniform}, sources=SOURCES, most=100)
    order = torch.where(given["valid"], uniform, -1.0).topk(100).indices
    keep = torch.zeros(500, dtype=torch.bool)
    keep[order] = True
    alone = measured({**given, "valid": given["valid"] & keep}, sources=SOURCES)
    for key, value in alone.items():
        loose = 0.1 if key == "policy_cov_top" else 1e-5  # the share of the top is one of all tokens given
        assert sampled[key] == pytest.approx(value, rel=loose, abs=1e-6, nan_ok=True), key


def test_the_top_of_a_large_batch_is_more_than_one_token() -> None:
    g = torch.Generator().manual_seed(0)
    count = 20_000
    given = {
        "logits": torch.zeros(1, count, 2),
        "valid": torch.ones(count, dtype=torch.bool),
        "logprobs": -torch.rand(count, generator=g) * 3,
        "advantages": torch.randn(count, generator=g),
    }
    lp, advantage = given["logprobs"].double(), given["advantages"].double()
    rise = ((lp - lp.mean()) * (advantage - advantage.mean())).clamp_min(0)
    expected = rise.topk(4).values.sum() / rise.sum()
    assert measured(given)["policy_cov_top"] == pytest.approx(expected.item(), rel=1e-5)


# -- the entropy's change ----------------------------------------------------------------------------------------------


def test_the_measured_change_is_the_difference_to_the_last_record() -> None:
    given = {name: x for name, x in batch().items() if name in ("logits", "valid")}
    ours = measured(given, before=1.25)
    assert ours["entropy_change_measured"] == pytest.approx(ours["policy_entropy"] - 1.25, abs=1e-6)
    assert math.isnan(measured(given)["entropy_change_measured"])


@pytest.mark.parametrize("vocabulary", [3, 40])
@pytest.mark.parametrize("rate", [1e-3, 1e-2])
def test_the_predicted_change_is_that_of_a_gradient_step_on_a_table_of_logits(
    vocabulary: int, rate: float
) -> None:
    """A tabular softmax policy, A ln π differentiated by autograd, a finite step taken, the entropy measured again."""
    g = torch.Generator().manual_seed(0)
    table = (2 * torch.randn(200, vocabulary, generator=g, dtype=torch.float64)).requires_grad_()
    actions = torch.randint(0, vocabulary, (200,), generator=g)
    advantage = torch.randn(200, generator=g, dtype=torch.float64)
    taken = table.log_softmax(-1).gather(1, actions.unsqueeze(1)).squeeze(1)
    (gradient,) = torch.autograd.grad((advantage * taken).sum(), table)

    def entropy(logits: Tensor) -> Tensor:
        lp = logits.log_softmax(-1)
        return -(lp.exp() * lp).sum(-1)

    before, after = entropy(table.detach()), entropy(table.detach() + rate * gradient)
    change = after - before
    given = {
        "logits": table.detach().float().unsqueeze(0),
        "valid": torch.ones(200, dtype=torch.bool),
        "actions": actions,
        "advantages": advantage,
    }
    ours = measured(given)
    assert rate * ours["entropy_change_predicted"] == pytest.approx(change.mean().item(), rel=0.05)
    assert rate * ours["entropy_change_raising"] == pytest.approx(change.clamp_min(0).mean().item(), rel=0.05)
    assert rate * ours["entropy_change_lowering"] == pytest.approx(
        change.clamp_max(0).mean().item(), rel=0.05
    )
    low = (taken <= -before).detach()
    for likely, inside in (("low", low), ("high", low.logical_not())):
        for sign, of in (("positive", advantage > 0), ("negative", advantage < 0)):
            key = f"entropy_change_cell{{advantage={sign},probability={likely}}}"
            expected = (change * (inside & of)).mean().item()
            assert rate * ours[key] == pytest.approx(expected, rel=0.05, abs=1e-3 * rate), key
    parts = sum(value for key, value in ours.items() if key.startswith("entropy_change_cell"))
    assert parts == pytest.approx(ours["entropy_change_predicted"], rel=1e-5)


def test_the_covariance_law_holds_for_a_policy_gradient_step() -> None:
    """Cui et al.: ΔH ≈ −η Cov(ln π, π A) when every action of every state is weighed by its probability."""
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(64, 12, generator=g)
    p = logits.double().softmax(-1)
    advantage = torch.randn(64, 12, generator=g).double()
    advantage -= (p * advantage).sum(-1, keepdim=True)
    lp = p.log()
    entropy = -(p * lp).sum(-1, keepdim=True)
    weighted = p * advantage
    covariance = (p * (lp + entropy) * (weighted - (p * weighted).sum(-1, keepdim=True))).sum(-1)
    # The expectation over actions of the change that single tokens imply is the change of the expected step.
    per_action = []
    for action in range(12):
        given = {
            "logits": logits.unsqueeze(0),
            "valid": torch.ones(64, dtype=torch.bool),
            "actions": torch.full((64,), action),
            "advantages": advantage[:, action] * p[:, action] * 64,
        }
        per_action.append(measured(given)["entropy_change_predicted"])
    assert math.fsum(per_action) == pytest.approx(-64 * covariance.mean().item(), rel=1e-4)
