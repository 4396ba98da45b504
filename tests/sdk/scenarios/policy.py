"""A policy's tokens and groups."""

from __future__ import annotations

import math

import torch
from tests.sdk.device_functions.policy import constants, planned
from tests.sdk.scenarios.scenario import Scenario, filled, none, shown
from tests.sdk.subjects.policy import TOKENS, VOCABULARY
from tests.sdk.subjects.subject import Readings, row_of
from torch import Tensor

from foreshock.measure.statistics import STATISTICS, entropies, openness, policy
from foreshock.testing import recording

GROUPS, JUDGED = "policy, groups", "policy, groups, judged"


def _on_policy() -> Readings:
    """All policies are the one that is trained."""
    logits = torch.randn(24, TOKENS, VOCABULARY, generator=torch.Generator().manual_seed(0))
    own = logits.log_softmax(-1).select(-1, 0)
    others = dict.fromkeys(("old_logprobs", "ref_logprobs", "rollout_logprobs"), own)
    return shown("policy", logits=logits, ref_logits=logits, actions=none, **others)()


def _certain(logits: Tensor) -> Tensor:
    return 200.0 * torch.nn.functional.one_hot(logits.argmax(-1), VOCABULARY).float()


def _one_word() -> Readings:
    given = {
        "logits": torch.randn(3, 4, 1),
        "valid": torch.ones(12, dtype=torch.bool),
        "before": torch.ones(1),
    }
    plan = planned({"logits", "valid"}, vocabulary=1)
    row = policy.measure(given, plan, constants(plan), policy.see(given, plan))
    return row_of(plan.series, row)


def _records(*masks: bool) -> Readings:
    """After so many records, whose tokens all count or none does."""
    with recording(every={"policy": 1, "diversity": 1}) as recorded:
        for counts in masks:
            shape = (2, 8)
            valid = torch.full(shape, counts)
            recorded.run.observe.policy(torch.randn(*shape, 5), mask=valid)
            recorded.run.step()
        names = ("entropy_change_measured", "policy_fork_threshold")
        read = {name: recorded.columns(name) for name in names}
    # What a statistic does not say of the last step is no reading: NaN on the device.
    last = {
        name: float(one.values[-1]) if len(one.steps) and one.steps[-1] == len(masks) - 1 else math.nan
        for name, one in read.items()
    }
    return {STATISTICS[name].series(): value for name, value in last.items()}


def _no_fork() -> Readings:
    """Every token below a threshold that was kept."""
    state = torch.tensor([float(entropies.RECORDS), 9.0])
    values = entropies.forks(torch.rand(8), torch.ones(8), torch.tensor(0.8), state)
    names = openness.series(sequences=False)[-len(entropies.FORKS) :]
    return row_of(names, values)


def _alone(rewards: Tensor) -> Tensor:
    return torch.full_like(rewards, math.nan)


def _with_a_group_of_one() -> Readings:
    """How far the readings are from those without it: nothing."""
    groups = torch.cat([torch.arange(24) // 4, torch.tensor([99])])
    whole = shown(GROUPS, 25, groups=groups)()
    less = shown(
        GROUPS,
        25,
        groups=groups[:24],
        **{name: lambda x: x[:24] for name in ("logits", "valid", "rewards", "answers")},
    )()
    return {spec: whole[spec] - less[spec] for spec in whole if spec in less}


ZERO = {"advantages": none}
EVEN = {"rewards": filled(0.1), "answers": filled(3)}

SCENARIOS = [
    Scenario(
        "no valid token",
        shown("policy", valid=none),
        "without valid tokens|fewer than two tokens|no such token",
    ),
    Scenario("a vocabulary of one", _one_word, "with a vocabulary of one"),
    Scenario(
        "tokens equally likely", shown("policy", logits=none, ref_logits=none), "equally likely|even policy"
    ),
    Scenario(
        "a certain policy",
        shown("policy", logits=_certain, actions=lambda x: x),
        "^0 for a certain|policy is certain|every token is certain",
        names=("policy_nucleus_entropy", "entropy_change_predicted"),
    ),
    Scenario(
        "a certain policy on its way",
        shown(
            "policy",
            logits=lambda x: (
                200.0 * torch.nn.functional.one_hot(torch.zeros(x.shape[:-1], dtype=torch.long), VOCABULARY)
            ),
            actions=none,
        ),
        "^0 for a certain",
    ),
    Scenario("no fork", _no_fork, "no token is a fork"),
    Scenario(
        "before the first tokens", lambda: _records(False), "before the first record|at the first record"
    ),
    Scenario("the first record", lambda: _records(True), "NaN at the first record"),
    Scenario(
        "after a record without tokens", lambda: _records(True, False, True), "after one without valid tokens"
    ),
    Scenario(
        "equal advantages",
        shown("policy", advantages=filled(0.3)),
        "advantages are equal|no term is positive",
    ),
    Scenario(
        "advantages of zero",
        shown("policy", **ZERO),
        "advantages are (all )?zero|all advantages are zero|no token does|empty quadrant|no advantage is positive",
    ),
    Scenario(
        "no advantage of a sign",
        shown("policy", **ZERO),
        "no such token",
        only=lambda labels: "advantage" in labels,
    ),
    Scenario(
        "one turn",
        shown("policy", turns=none),
        "no such token",
        only=lambda labels: labels.get("turn", "0") != "0" and "turn" in labels,
    ),
    Scenario(
        "no rare token",
        shown("policy", logits=none, ref_logits=none),
        "no such token",
        names=("spark_advantage",),
    ),
    Scenario(
        "one source",
        shown("policy", sources=none),
        "nothing of the source",
        only=lambda labels: labels.get("source") == "code",
    ),
    Scenario("one policy", _on_policy, "both policies agree|when both agree|first update of a batch"),
    Scenario(
        "no reward is finite",
        shown(GROUPS, rewards=_alone),
        "without rewards|fewer than two rewards|no reward is finite|without a group$",
    ),
    Scenario("equal rewards", shown(GROUPS, **EVEN), "rewards are equal|every group agrees"),
    Scenario(
        "one reward",
        shown(GROUPS, 4, rewards=torch.tensor([1.0, math.nan, math.nan, math.nan])),
        "fewer than two rewards",
    ),
    Scenario(
        "groups of one",
        shown(GROUPS, groups=lambda x: torch.arange(len(x))),
        "without a group of two|no group has k members",
        only=lambda labels: labels.get("k") != "1",
    ),
    Scenario(
        "a group of one beside others", _with_a_group_of_one, "a group of one is not counted", expected=0.0
    ),
]
