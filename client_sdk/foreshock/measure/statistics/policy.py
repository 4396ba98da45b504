"""Everything about one batch of a policy in one row: one logit pass, however many statistics read it.

Shape suffixes: N tokens, V vocabulary, S sampled tokens or sequences.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import groups, masked, signal, tokens
from .table import STATISTICS

PLACE = "policy"  # of the counts; the entropies themselves are the run's, and have no place
OTHERS = ("ref", "old")


def series(given: Collection[str], *, grouped: bool = False) -> list[SeriesSpec]:
    """What `measure` yields, in order, for inputs of these names."""
    names = list(tokens.YIELDS)
    counts = ["logits"]
    if {"actions", "logprobs"} & set(given):
        names += signal.COVARIANCE if "advantages" in given else ()
        names += signal.divergences([name for name in OTHERS if f"{name}_logprobs" in given])
    if "advantages" in given:
        names.append("advantage_std")
    if "rewards" in given:
        names += ["reward_mean", "reward_std"]
        names += groups.YIELDS if grouped or "groups" in given else ()
    if {"advantages", "rewards"} & set(given) or _told(given):
        counts.append("signal")
    return [STATISTICS[name].series() for name in names] + [
        STATISTICS["nonfinite_count"].series(PLACE, {"tensor": tensor}) for tensor in counts
    ]


def _told(given: Collection[str]) -> list[str]:
    """The other policies that the taken tokens can be compared with."""
    taken = {"actions", "logprobs"} & set(given)
    return [name for name in OTHERS if taken and f"{name}_logprobs" in given]


def measure(given: Mapping[str, Tensor], tokens_at_most: int, group: int | None = None) -> Tensor:
    """One float32 row in the order of `series`.

    ``logits`` [N, V] or [sequences, tokens, V]; ``valid`` [N]; ``levels``, the quantiles of `tokens.LEVELS`. Per token
    ``actions``, ``logprobs``, ``old_logprobs``, ``ref_logprobs``; ``advantages`` per token, or per sequence when their
    number divides that of the tokens; ``rewards`` and ``groups`` per sequence, or ``group``, the size of each group. With
    ``uniform`` [N], that many random numbers, at most ``tokens_at_most`` of the tokens are measured.
    """
    logits, weight_N = given["logits"], given["valid"].float()
    everyone_N = weight_N
    per_token = {name: given[name] for name in ("logprobs", "old_logprobs", "ref_logprobs") if name in given}
    if "actions" in given and "logprobs" not in given:
        per_token["chosen"] = signal.chosen(logits, given["actions"])
    advantage = given.get("advantages")
    if advantage is not None:
        each = len(everyone_N) // max(len(advantage), 1)
        per_token["advantages"] = (
            advantage.unsqueeze(1).expand(-1, each).reshape(-1) if each > 1 else advantage
        )
    rows_S = None
    if "uniform" in given and tokens_at_most < len(everyone_N):
        rows_S = masked.sample(weight_N, given["uniform"], tokens_at_most)
        weight_N = weight_N.index_select(0, rows_S)
        per_token = {name: value.index_select(0, rows_S) for name, value in per_token.items()}
    per_token = {name: value.float() for name, value in per_token.items()}

    scanned = tokens.scan(logits, rows_S)
    values, bad_logits = tokens.policy(scanned, weight_N, logits.shape[-1], given["levels"])
    parts, wrong = [values], []
    logp_N = (
        per_token["chosen"] - scanned.select(0, 3) if "chosen" in per_token else per_token.get("logprobs")
    )
    if logp_N is not None:
        others = {name: per_token[f"{name}_logprobs"] for name in _told(given)}
        if others or advantage is not None:
            values, left_out = signal.tokens(logp_N, per_token.get("advantages"), others, weight_N)
            parts.append(values)
            # A token whose logits are bad has no ln π either: it has been counted as what it is.
            wrong.append(left_out - bad_logits if "chosen" in per_token else left_out)
    values_of, left_out_of = _of_sequences(given, everyone_N)
    parts += values_of
    wrong += [count for name, count in left_out_of.items() if name == "rewards" or logp_N is None]
    if "rewards" in given and (group is not None or "groups" in given):
        parts.append(groups.zero_variance(given["rewards"], given["groups"] if group is None else group))
    parts.append(bad_logits)
    if wrong:
        parts.append(torch.cat(wrong).sum(0, keepdim=True))
    return torch.cat(parts)


def _of_sequences(given: Mapping[str, Tensor], everyone_N: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Deviation of the advantages, mean and deviation of the rewards; and how many of each were left out, [1]."""
    names = [name for name in ("advantages", "rewards") if name in given]
    found = {name: given[name].float() for name in names}
    if len(names) == 2 and found["advantages"].shape == found["rewards"].shape:
        values, left_out = signal.spread(torch.stack(list(found.values())), torch.ones_like(found["rewards"]))
        parts = [values.reshape(-1).narrow(0, 2, 1), values.t().reshape(-1).narrow(0, 2, 2)]
        return parts, dict(zip(names, left_out.unsqueeze(1).unbind(0), strict=True))
    parts, left = [], {}
    for name, x in found.items():
        per_token = name == "advantages" and x.shape == everyone_N.shape
        values, left[name] = signal.spread(x.unsqueeze(0), everyone_N if per_token else torch.ones_like(x))
        parts.append(values.reshape(-1) if name == "rewards" else values.reshape(-1).narrow(0, 1, 1))
    return parts, left
