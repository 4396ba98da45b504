"""The policy's row written a second time, from the definitions, as loops in float64; and a way to read both by series key."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tests.sdk.device_functions.policy import constants
from torch import Tensor

from foreshock.measure.statistics import policy
from foreshock.measure.statistics.policy_readings import Batch, Clip

Given = Mapping[str, Tensor]
CLIP, HEAD = Clip(), policy.Head()


def measured(
    given: Given,
    group: int | None = None,
    *,
    most: int = 10**6,
    clip: Clip = CLIP,
    sources: Sequence[str] = (),
    head: policy.Head = HEAD,
    before: float = math.nan,
) -> dict[str, float]:
    """What the device function reads of these tensors, by series key."""
    shape = given["logits" if "logits" in given else "hidden"].shape
    vocabulary = given["head"].shape[0] if "head" in given else shape[-1]
    batch = Batch(frozenset(given), group, sequences=len(shape) == 3, sources=tuple(sources), clip=clip)
    plan = policy.plan(policy.Inputs(batch, vocabulary, most, head))
    given = {**given, "before": torch.tensor([before])}
    row = policy.measure(given, plan, constants(plan), policy.see(given, plan))
    assert row.shape == (len(plan.series),)
    keys = [spec.key for spec in plan.series]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, row.tolist(), strict=True))


def twin(
    given: Given, group: int | None = None, *, clip: Clip = CLIP, sources: Sequence[str] = ()
) -> dict[str, float]:
    """The same of logits [sequences, tokens, vocabulary] with everything given, advantages per sequence."""
    flat = [_token(given, n) for n in range(len(given["valid"])) if given["valid"][n]]
    sound = [token for token in flat if token["finite"]]
    kept = [token for token in sound if token["whole"]]
    found = _entropies(sound, given["logits"].shape[-1])
    found |= {
        "policy_tokens": len(sound),
        "nonfinite_count{place=policy,tensor=logits}": len(flat) - len(sound),
        "nonfinite_count{place=policy,tensor=signal}": len(sound) - len(kept),
    }
    found |= _signal(kept, clip, sources)
    for name, facts in (
        *((f"turn={turn}", {"turns": turn}) for turn in range(7)),
        ("turn=later", {"turns": 7}),
        ("outcome=right", {"outcome": True}),
        ("outcome=wrong", {"outcome": False}),
    ):
        chosen = [t["H"] for t in sound if all(t[key] == value for key, value in facts.items())]
        found[f"policy_entropy_part{{{name}}}"] = _mean(chosen)
    found |= _sequences(given, kept)
    found |= _groups(given, group)
    return {key: float(value) for key, value in found.items()}


def _token(given: Given, n: int) -> dict[str, Any]:
    logits = given["logits"]
    length = logits.shape[1]
    z = logits.reshape(-1, logits.shape[-1])[n].double().numpy()
    token: dict[str, Any] = {"sequence": n // length, "finite": _softmaxable(z)}
    if not token["finite"]:
        return token
    p, lp, token["lse"] = _softmax(z)
    token["H"] = -math.fsum(a * b for a, b in zip(p, lp, strict=True) if a)
    token["V"] = math.fsum(a * (b + token["H"]) ** 2 for a, b in zip(p, lp, strict=True) if a)
    token["top"] = max(p)
    y = int(given["actions"][n])
    token["lp"] = lp[y] if 0 <= y < len(p) else math.nan
    token["p"] = p[y] if 0 <= y < len(p) else math.nan
    token["A"] = float(given["advantages"][n // length])
    for name in ("old", "ref", "rollout"):
        token[name] = float(given[f"{name}_logprobs"][n])
        base = token["old"] if name == "rollout" else token["lp"]
        token[f"{name}_k1"] = _clamped(base, token[name])
    reference = given["ref_logits"].reshape(-1, logits.shape[-1])[n].double().numpy()
    token["exact"] = math.nan
    if _softmaxable(reference):
        _, lq, _ = _softmax(reference)
        token["exact"] = min(20.0, math.fsum(a * (b - c) for a, b, c in zip(p, lp, lq, strict=True) if a))
    token["turns"] = min(7, int(given["turns"][n]))
    token["outcome"] = bool(given["correct"][n // length])
    token["source"] = int(given["sources"][n // length])
    # A step on the logits, dz = A (e_y - p), and what it does to the entropy: -Cov_p(ln p, dz).
    if 0 <= y < len(p) and math.isfinite(token["A"]):
        dz = [token["A"] * ((v == y) - a) for v, a in enumerate(p)]
        mean = math.fsum(a * d for a, d in zip(p, dz, strict=True))
        terms = (a * (b + token["H"]) * (d - mean) for a, b, d in zip(p, lp, dz, strict=True) if a)
        token["change"] = -math.fsum(terms)
    else:
        token["change"] = math.nan
    numbers = (token[key] for key in ("lp", "A", "old_k1", "ref_k1", "rollout_k1", "exact", "change"))
    token["whole"] = all(map(math.isfinite, numbers))
    return token


def _softmaxable(z: np.ndarray) -> bool:
    return not (np.isnan(z).any() or (z == np.inf).any() or (z == -np.inf).all())


def _softmax(z: np.ndarray) -> tuple[list[float], list[float], float]:
    lse = z.max() + math.log(math.fsum(np.exp(z - z.max())))
    return [math.exp(x - lse) for x in z], [float(x - lse) for x in z], lse


def _clamped(a: float, b: float) -> float:
    return math.nan if math.isnan(a) or math.isnan(b) or a == b == -math.inf else max(-20.0, min(20.0, a - b))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _entropies(sound: list[dict[str, Any]], vocabulary: int) -> dict[str, float]:
    entropies = [token["H"] for token in sound]
    found = {
        "policy_entropy": _mean(entropies),
        "policy_varentropy": _mean([token["V"] for token in sound]),
        "policy_top1": _mean([token["top"] for token in sound]),
        "policy_lse": _mean([token["lse"] for token in sound]),
        "policy_top1_above_99": _mean([token["top"] > 0.99 for token in sound]),
        "policy_entropy_normalized": _mean(entropies) / math.log(vocabulary),
    }
    for percent in (5, 25, 50, 80, 90, 95, 99):
        found[f"policy_entropy_p{percent:02d}"] = (
            np.quantile(entropies, percent / 100) if entropies else math.nan
        )
    return found


def _signal(kept: list[dict[str, Any]], clip: Clip, sources: Sequence[str]) -> dict[str, float]:
    def mean(key: str) -> float:
        return _mean([token[key] for token in kept])

    def share(test: Any) -> float:
        return _mean([bool(test(token)) for token in kept])

    found: dict[str, float] = {}
    center_lp, center_a = mean("lp"), mean("A")
    for token in kept:
        token["cov"] = (token["lp"] - center_lp) * (token["A"] - center_a)
        token["quadrant"] = (
            "high" if token["lp"] > -token["H"] else "low",
            "positive" if token["A"] > 0 else "negative" if token["A"] < 0 else "none",
        )
        token["ratio"] = math.exp(token["old_k1"])
        token["side"] = (
            "high" if token["ratio"] > 1 + clip.high else "low" if token["ratio"] < 1 - clip.low else "none"
        )
        token["clipped"] = token["quadrant"][1], token["side"]
        token["spark"] = token["p"] < 0.1 and token["p"] >= 0.02 * token["top"]
    found["policy_cov"] = mean("cov")
    found["policy_cov_above_1"] = share(lambda t: t["cov"] > 1)
    found["policy_cov_above_5"] = share(lambda t: t["cov"] > 5)
    rises = sorted((max(0.0, token["cov"]) for token in kept), reverse=True)
    found["policy_cov_top"] = rises[0] / math.fsum(rises)
    for name in ("ref", "old"):
        found[f"kl_{name}_k1"] = mean(f"{name}_k1")
        found[f"kl_{name}_k3"] = _mean([math.expm1(-t[f"{name}_k1"]) + t[f"{name}_k1"] for t in kept])
    found["kl_ref_k2"] = _mean([t["ref_k1"] ** 2 / 2 for t in kept])
    found["kl_ref_exact"] = mean("exact")
    found["kl_ref_clamped{estimate=sampled}"] = share(lambda t: abs(t["ref_k1"]) == 20)
    found["kl_ref_clamped{estimate=exact}"] = share(lambda t: t["exact"] == 20)
    advantages = [token["A"] for token in kept]
    found["advantage_std"] = float(np.std(advantages))
    found["advantage_positive"] = share(lambda t: t["A"] > 0)
    found["advantage_zero"] = share(lambda t: t["A"] == 0)
    for number, source in enumerate(sources):
        of = [abs(t["A"]) for t in kept if t["source"] == number]
        found[f"advantage_source{{source={source}}}"] = _mean(of)
    found["entropy_change_predicted"] = mean("change")
    found["entropy_change_raising"] = _mean([max(0.0, t["change"]) for t in kept])
    found["entropy_change_lowering"] = _mean([min(0.0, t["change"]) for t in kept])
    for likely in ("low", "high"):
        for sign in ("positive", "negative"):
            inside = [t["quadrant"] == (likely, sign) for t in kept]
            labels = f"advantage={sign},probability={likely}"
            changes = [t["change"] if ok else 0.0 for t, ok in zip(kept, inside, strict=True)]
            found[f"entropy_change_cell{{{labels}}}"] = _mean(changes)
            for side in ("high", "low"):
                cell = [ok and t["side"] == side for t, ok in zip(kept, inside, strict=True)]
                found[f"clip_cell{{{labels},side={side}}}"] = _mean(cell)
    for sign in ("positive", "negative"):
        of = [t["H"] for t in kept if t["quadrant"][1] == sign]
        found[f"policy_entropy_part{{advantage={sign}}}"] = _mean(of)
    found["clip_high"] = share(lambda t: t["clipped"] == ("positive", "high"))
    found["clip_low"] = share(lambda t: t["clipped"] == ("negative", "low"))
    found["clip_dual"] = share(lambda t: t["A"] < 0 and t["ratio"] > clip.dual)
    for bucket, least, most in (
        ("below-0.01", -1, 0.01),
        ("0.01-0.1", 0.01, 0.1),
        ("0.1-0.9", 0.1, 0.9),
        ("above-0.9", 0.9, 2),
    ):
        for side, clipped in (("high", ("positive", "high")), ("low", ("negative", "low"))):
            inside = [least < math.exp(t["old"]) <= most and t["clipped"] == clipped for t in kept]
            found[f"clip_bucket{{old={bucket},side={side}}}"] = _mean(inside)
    found["spark_share"] = share(lambda t: t["spark"])
    found["spark_count"] = sum(t["spark"] for t in kept) if kept else math.nan
    found["noise_share"] = share(lambda t: t["p"] < 0.02 * t["top"])
    found["spark_advantage"] = _mean([t["A"] for t in kept if t["spark"]])
    found["mastered_positive"] = _mean([t["p"] > 0.99 for t in kept if t["A"] > 0])
    weights = [t["ratio"] for t in kept]
    found["importance_ess"] = math.fsum(weights) ** 2 / (len(weights) * math.fsum(w * w for w in weights))
    found["importance_ratio_mean"] = _mean(weights)
    found["importance_ratio_max"] = max(weights)
    gaps = [t["rollout_k1"] for t in kept]
    found["mismatch_k3"] = _mean([math.expm1(-gap) + gap for gap in gaps])
    found["mismatch_max"] = max(map(abs, gaps))
    found["mismatch_far"] = _mean([abs(gap) > 0.5 for gap in gaps])
    return found


def _sequences(given: Given, kept: list[dict[str, Any]]) -> dict[str, float]:
    of: dict[int, list[float]] = defaultdict(list)
    for token in kept:
        of[token["sequence"]].append(token["old_k1"])
    ratios = [math.exp(_mean(apart)) for apart in of.values()]
    rewards = [r for r in given["rewards"].double().tolist() if math.isfinite(r)]
    found = {
        "sequence_ratio_mean": _mean(ratios),
        "sequence_ratio_max": max(ratios),
        "reward_mean": _mean(rewards),
        "reward_std": float(np.std(rewards)),
        "policy_sequences": len(rewards),
        "nonfinite_count{place=policy,tensor=rewards}": len(given["rewards"]) - len(rewards),
    }
    return found | {f"reward_p{p}": float(np.quantile(rewards, p / 100)) for p in (10, 50, 90)}


def _groups(given: Given, group: int | None) -> dict[str, float]:
    names = [n // group for n in range(len(given["rewards"]))] if group else given["groups"].tolist()
    members: dict[int, list[int]] = defaultdict(list)
    for n, name in enumerate(names):
        members[name].append(n)
    rewards, correct = given["rewards"].double().tolist(), given["correct"].tolist()
    several = [m for m in members.values() if len(m) >= 2]
    counted = [[rewards[n] for n in m] for m in several if all(math.isfinite(rewards[n]) for n in m)]
    finite = [r for r in rewards if math.isfinite(r)]
    middle = (min(finite) + max(finite)) / 2
    same = [m for m in counted if min(m) == max(m)]
    high = [m for m in same if (m[0] > 0 if min(finite) == max(finite) else m[0] >= middle)]
    found = {
        "zero_variance_groups": len(same) / len(counted) if counted else math.nan,
        "zero_variance_all_high": len(high) / len(counted) if counted else math.nan,
        "zero_variance_all_low": (len(same) - len(high)) / len(counted) if counted else math.nan,
        "group_reward_std": _mean([float(np.std(m)) for m in counted]),
        "group_reward_max": _mean([max(m) for m in counted]),
        "group_reward_min": _mean([min(m) for m in counted]),
        **{
            f"group_reward_p{percent}": _mean([float(np.quantile(m, percent / 100)) for m in counted])
            for percent in (10, 50, 90)
        },
        "solved_by_any": _mean([any(correct[n] for n in m) for m in members.values()]),
    }
    for k in (1, 2, 4, 8) if group is None else (1, 2, 4, 8, 16, 32, 64):
        if group is None or k <= group:
            chances = [
                1 - math.comb(len(m) - sum(correct[n] for n in m), k) / math.comb(len(m), k)
                for m in members.values()
                if len(m) >= k
            ]
            found[f"pass_at{{k={k}}}"] = _mean(chances)
    answers = [[int(given["answers"][n]) for n in m] for m in several]
    found["unique_answers"] = _mean([len(set(of)) for of in answers])
    entropies = []
    for of in answers:
        shares = [of.count(answer) / len(of) for answer in set(of)]
        entropies.append(-math.fsum(f * math.log(f) for f in shares))
    found["answer_entropy"] = _mean(entropies)
    return found
