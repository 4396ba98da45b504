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
    """One float32 row from ``logits`` [N, V], ``valid`` [N] and what else is given, in the order of `series`.

    Per token: ``actions``, ``logprobs``, ``old_logprobs``, ``ref_logprobs``; ``advantages`` per token, or per
    sequence when their number divides that of the tokens; ``rewards`` and ``groups`` per sequence. With ``uniform``
    [N], that many random numbers, at most ``tokens_at_most`` of the tokens are measured.
    """
    logits_NV, valid_N = given["logits"], given["valid"]
    advantage = given.get("advantages")
    advantage_N = advantage
    if advantage is not None and len(advantage) != len(logits_NV):
        advantage_N = advantage.unsqueeze(1).expand(-1, len(logits_NV) // len(advantage)).reshape(-1)
    per_token = {name: given[name] for name in ("logprobs", "old_logprobs", "ref_logprobs") if name in given}
    if "actions" in given and "logprobs" not in given:
        per_token["chosen"] = signal.chosen(logits_NV, given["actions"])
    if advantage_N is not None:
        per_token["advantages"] = advantage_N
    rows_S = None
    if "uniform" in given and tokens_at_most < len(logits_NV):
        rows_S = masked.sample(valid_N, given["uniform"], tokens_at_most)
        valid_N = valid_N.index_select(0, rows_S)
        per_token = {name: value.index_select(0, rows_S) for name, value in per_token.items()}

    scanned = tokens.scan(logits_NV, rows_S)
    entropy_N, _, _, lse_N = scanned.unbind(0)
    parts = [tokens.policy(scanned, valid_N, logits_NV.shape[1])]
    wrong = []
    logp_N = per_token.get("logprobs")
    if logp_N is None and "chosen" in per_token:
        logp_N = per_token["chosen"] - lse_N
    if logp_N is not None:
        logp_N = logp_N.float()
        if advantage is not None:
            parts.append(signal.covariance(logp_N, per_token["advantages"].float(), valid_N))
        if "ref_logprobs" in given:
            parts.append(signal.divergence(logp_N, per_token["ref_logprobs"].float(), valid_N))
        if "old_logprobs" in given:
            k1, _, k3 = signal.divergence(logp_N, per_token["old_logprobs"].float(), valid_N).unbind(0)
            parts.append(torch.stack([k1, k3]))
    wrong += [
        signal.bad(per_token[name], valid_N)
        for name in ("logprobs", "old_logprobs", "ref_logprobs")
        if name in given
    ]
    if advantage is not None:
        everyone = (
            given["valid"] if advantage_N is advantage else torch.ones_like(advantage, dtype=torch.bool)
        )
        parts.append(signal.spread(advantage.float(), everyone).narrow(0, 1, 1))
        wrong.append(signal.bad(advantage, everyone))
    if "rewards" in given:
        reward = given["rewards"].float()
        everyone = torch.ones_like(reward, dtype=torch.bool)
        parts.append(signal.spread(reward, everyone))
        if "groups" in given:
            parts.append(groups.zero_variance(reward, given["groups"]))
        wrong.append(signal.bad(reward, everyone))
    parts.append(signal.bad(entropy_N, valid_N))
    if wrong:
        parts.append(torch.cat(wrong).sum(0, keepdim=True))
    return torch.cat(parts)
