"""Everything about one batch of a policy in one row: one logit pass, however many statistics read it.

Shape suffixes: N tokens, V vocabulary, S sampled tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import groups, masked, signal, tokens
from .table import STATISTICS

LOG_PROBABILITIES = ("logprobs", "old_logprobs", "ref_logprobs")
PLACE = "policy"  # of the counts; the entropies themselves are the run's, and have no place


def series(given: Collection[str]) -> list[SeriesSpec]:
    """What `measure` yields, in order, for inputs of these names."""
    names = list(tokens.YIELDS)
    counts = ["logits"]
    if {"actions", "logprobs"} & set(given):
        names += signal.COVARIANCE if "advantages" in given else ()
        names += signal.KL_REF if "ref_logprobs" in given else ()
        names += signal.KL_OLD if "old_logprobs" in given else ()
    if "advantages" in given:
        names += signal.ADVANTAGE
    if "rewards" in given:
        names += signal.REWARD
        names += groups.YIELDS if "groups" in given else ()
    if set(given) - {"logits", "valid", "uniform", "groups", "actions"}:
        counts.append("signal")
    return [STATISTICS[name].series() for name in names] + [
        STATISTICS["nonfinite_count"].series(PLACE, {"tensor": tensor}) for tensor in counts
    ]


def measure(given: Mapping[str, Tensor], tokens_at_most: int) -> Tensor:
    """One float32 row from ``logits`` [N, V] or [sequences, tokens, V], ``valid`` [N] and what else is given, in the order of `series`.

    Per token: ``actions``, ``logprobs``, ``old_logprobs``, ``ref_logprobs``; ``advantages`` per token, or per
    sequence when their number divides that of the tokens; ``rewards`` and ``groups`` per sequence. With ``uniform``
    [N], that many random numbers, at most ``tokens_at_most`` of the tokens are measured.
    """
    logits, weight_N = given["logits"], given["valid"].float()
    everyone_N = weight_N
    advantage = given.get("advantages")
    advantage_N = advantage
    if advantage is not None and len(advantage) != len(everyone_N):
        advantage_N = advantage.unsqueeze(1).expand(-1, len(everyone_N) // len(advantage)).reshape(-1)
    per_token = {name: given[name] for name in LOG_PROBABILITIES if name in given}
    if "actions" in given and "logprobs" not in given:
        per_token["chosen"] = signal.chosen(logits, given["actions"])
    if advantage_N is not None:
        per_token["advantages"] = advantage_N
    rows_S = None
    if "uniform" in given and tokens_at_most < len(everyone_N):
        rows_S = masked.sample(weight_N, given["uniform"], tokens_at_most)
        weight_N = weight_N.index_select(0, rows_S)
        per_token = {name: value.index_select(0, rows_S) for name, value in per_token.items()}
    per_token = {name: value.float() for name, value in per_token.items()}

    scanned = tokens.scan(logits, rows_S)
    entropy_N, _, _, lse_N = scanned.unbind(0)
    parts = [tokens.policy(scanned, weight_N, logits.shape[-1])]
    logp_N = per_token["chosen"] - lse_N if "chosen" in per_token else per_token.get("logprobs")
    if logp_N is not None:
        if "advantages" in per_token:
            parts.append(signal.covariance(logp_N, per_token["advantages"], weight_N))
        if "ref_logprobs" in per_token:
            parts.append(signal.divergence(logp_N, per_token["ref_logprobs"], weight_N))
        if "old_logprobs" in per_token:
            k1, _, k3 = signal.divergence(logp_N, per_token["old_logprobs"], weight_N).split(1)
            parts += [k1, k3]
    wrong = []
    if told := [per_token[name] for name in LOG_PROBABILITIES if name in per_token]:
        wrong.append(signal.bad(torch.stack(told), weight_N))
    if advantage is not None:
        advantage = advantage.float()
        counts = everyone_N if len(advantage) == len(everyone_N) else torch.ones_like(advantage)
        parts.append(signal.spread(advantage, counts).narrow(0, 1, 1))
        wrong.append(signal.bad(advantage, counts))
    if "rewards" in given:
        reward = given["rewards"].float()
        counts = torch.ones_like(reward)
        parts.append(signal.spread(reward, counts))
        if "groups" in given:
            parts.append(groups.zero_variance(reward, given["groups"]))
        wrong.append(signal.bad(reward, counts))
    parts.append(signal.bad(entropy_N, weight_N))
    if wrong:
        parts.append(torch.cat(wrong).sum(0, keepdim=True))
    return torch.cat(parts)
