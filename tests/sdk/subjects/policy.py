"""A policy's batch: what is read of its tokens, where the rows are sequences, and of its groups, where they are groups."""

from __future__ import annotations

import functools

import torch
from tests.sdk.device_functions.policy import constants, planned
from tests.sdk.subjects.subject import Given, Readings, Subject, integers, mask, normal, row_of

from foreshock.measure.statistics import openness, policy
from foreshock.measure.statistics.tokens import YIELDS

TOKENS, VOCABULARY, GROUP = 3, 7, 4
_P80 = YIELDS.index("policy_entropy_p80")


def _tokens(rows: int, g: torch.Generator) -> Given:
    size = (rows, TOKENS)
    logits = 2 * normal(*size, VOCABULARY, generator=g)
    actions = integers(VOCABULARY, *size, generator=g)
    logp = logits.log_softmax(-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    return {
        "logits": logits,
        "ref_logits": logits + 0.3 * normal(*size, VOCABULARY, generator=g),
        "valid": mask(*size, generator=g),
        "actions": actions,
        "old_logprobs": logp + 0.3 * normal(*size, generator=g),
        "ref_logprobs": logp + 0.3 * normal(*size, generator=g),
        "rollout_logprobs": logp + 0.2 * normal(*size, generator=g),
        "turns": integers(9, *size, generator=g),
        "advantages": normal(rows, generator=g),
        "sources": integers(2, rows, generator=g),
    }


def _groups(rows: int, g: torch.Generator) -> Given:
    return {
        **{name: x for name, x in _tokens(rows, g).items() if name in ("logits", "valid")},
        "rewards": integers(3, rows, generator=g).float() / 2,
        "answers": integers(3, rows, generator=g),
        "groups": 7 * (torch.arange(rows) // GROUP) - 40,
    }


def _judged(rows: int, g: torch.Generator) -> Given:
    return {**_groups(rows, g), "correct": torch.rand(rows, generator=g) > 0.6}


def _read(given: Given) -> Readings:
    flat = {
        name: x if "logits" in name else x.reshape(-1) for name, x in given.items() if "groups" not in name
    }
    if "groups" in given:
        flat["groups"] = given["groups"]
        flat["outcome"] = given.get("correct", given["rewards"])
    plan, held = _plan(frozenset(flat))
    shown = {**flat, "before": torch.ones(1)}
    seen = policy.see(shown, plan)
    row = policy.measure(shown, plan, held, seen)
    opened = openness.measure(
        {"logits": given["logits"]},
        seen.rows,
        seen.tokens["entropy"],
        seen.tokens["asked"],
        row[0],
        row[_P80],
        torch.zeros(openness.STATE),
        sequences=True,
    )
    return row_of(plan.series, row) | row_of(openness.series(sequences=True), opened)


@functools.cache
def _plan(names: frozenset[str]) -> tuple[policy.Plan, Given]:
    plan = planned(names, vocabulary=VOCABULARY)
    return plan, constants(plan)


_OF_TOKENS = dict.fromkeys(
    (
        *("logits", "ref_logits", "valid", "actions", "old_logprobs", "ref_logprobs", "rollout_logprobs"),
        *("turns", "advantages", "sources"),
    ),
    0,
)
_OF_GROUPS = dict.fromkeys(("logits", "valid", "rewards", "answers", "correct", "groups"), 0)
# About the means of the rank's own tokens, or its own threshold; and means over sequences, which nothing counts.
_BY_RANK = (
    *("policy_cov_above_1", "policy_cov_above_5", "policy_fork_share"),
    *("policy_entropy_per_sequence", "sequence_ratio_mean"),
)
# Of a high reward, which is one in the upper half of what the rank's own rewards range over.
_BY_RANGE = ("zero_variance_all_high", "zero_variance_all_low", "pass_at", "solved_by_any")

SUBJECTS = [
    Subject(
        "policy",
        _tokens,
        _read,
        _OF_TOKENS,
        spoiled=("logits",),
        shifted=("logits",),
        unshifted=("policy_lse",),
        halved=("logits", "ref_logits"),
        averaged=_BY_RANK,
    ),
    Subject(
        "policy, groups",
        _groups,
        _read,
        _OF_GROUPS,
        block=GROUP,
        unmasked=True,
        averaged=(*_BY_RANGE, *_BY_RANK),
    ),
    Subject(
        "policy, groups, judged",
        _judged,
        _read,
        _OF_GROUPS,
        block=GROUP,
        unmasked=True,
        averaged=(*_BY_RANGE[:2], *_BY_RANK),
    ),
]
