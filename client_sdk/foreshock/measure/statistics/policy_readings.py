"""What is given of a policy's batch in; the readings that its tokens allow, in their order, out. Runs once, on the host.

A reading names the tokens that it is about by facts of their quantities, which `signal.quantities` explains; those of
sequences and groups are in `reward_readings`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from foreshock.series import SeriesSpec

from . import signal, tokens
from .table import STATISTICS
from .tally import TINY, Cell, Fact, How, Reading, Subset, Sum, above, upto

PLACE = "policy"  # of the counts; the readings themselves are the run's, and have no place
TOKENS, SEQUENCES = "tokens", "sequences"
SPARK = math.log(0.1)  # a token less likely than that
MASTERED = math.log(0.99)  # UloRL, arXiv:2507.19766
BUCKETS = {
    "below-0.01": (0.0, 0.01),
    "0.01-0.1": (0.01, 0.1),
    "0.1-0.9": (0.1, 0.9),
    "above-0.9": (0.9, 1.0),
}
TURNS = 8
FAR = 0.5  # nats between rollout and trainer
CLAMPED = math.nextafter(signal.CLAMP, 0.0)  # what exceeds it has been clamped

ASKED, FINITE, VALID = above("asked", 0.5), above("finite", 0.5), (above("valid", 0.5),)
SOUND = (ASKED, FINITE)
CERTAIN = 0.99
GOOD, BAD = above("advantages"), upto("advantages", -TINY)
SIDES = {"positive": GOOD, "negative": BAD}
QUADRANTS = {
    (likely, sign): (side, fact)
    for likely, side in (("low", upto("margin")), ("high", above("margin")))
    for sign, fact in SIDES.items()
}  # less or more likely than its own distribution is on average, ln π against −H
REWARDED = (above("rewarded", 0.5),)


@dataclass(frozen=True)
class Clip:
    """Where the surrogate objective stops following the ratio of new to old: beyond 1 − low and 1 + high, and beyond ``dual``
    at tokens with a negative advantage."""

    low: float = 0.2
    high: float = 0.2
    dual: float = 3.0


@dataclass(frozen=True)
class Batch:
    """What is given: the names of the tensors, and what else decides which readings there are."""

    names: frozenset[str]
    group: int | None = None  # the size of the groups, where they follow one another
    sequences: bool = False  # the tokens come as sequences: one can tell which is whose
    sources: tuple[str, ...] = ()
    clip: Clip = Clip()

    def has(self, *names: str) -> bool:
        """Whether all of these are given."""
        return all(name in self.names for name in names)

    @cached_property
    def taken(self) -> bool:
        """Whether ln π of the tokens taken can be known."""
        return self.has("actions") or self.has("logprobs")

    @cached_property
    def judged(self) -> bool:
        """Whether the signal of each of them can be."""
        return self.taken and self.has("advantages")

    @cached_property
    def grouped(self) -> bool:
        """Whether it is known which sequences belong together."""
        return self.group is not None or self.has("groups")

    @cached_property
    def ratios(self) -> bool:
        """Whether the importance ratios of whole sequences can be had: of those that what else is per sequence is of."""
        other = {"rewards", "correct", "answers"} & self.names
        return (
            self.sequences and self.taken and self.has("old_logprobs") and (self.has("outcome") or not other)
        )


# -- what is possible ---------------------------------------------------------------------------------------------------


def of_entropies(vocabulary: int) -> Iterator[Reading]:
    """Of the scores alone."""
    for name, quantity in (
        ("policy_entropy", "entropy"),
        ("policy_varentropy", "varentropy"),
        ("policy_top1", "top1"),
        ("policy_lse", "lse"),
    ):
        yield _mean(name, quantity, base=SOUND)
    yield _share("policy_top1_above_99", above("top1", CERTAIN), base=SOUND)
    for percent in tokens.PERCENTILES:
        name = f"policy_entropy_p{percent:02d}"
        yield Reading(spec(name), Cell(name), checked=checked(SOUND))
    most = math.log(vocabulary) if vocabulary > 1 else math.nan
    yield _mean("policy_entropy_normalized", "entropy", base=SOUND, scale=1.0 / most)


def of_tokens(batch: Batch) -> list[Reading]:
    """Of what is given per token."""
    return [
        *_divergences(batch),
        *_advantages(batch),
        *_changes(batch),
        *_parts(batch),
        *_clipping(batch),
        *_rare(batch),
        *_ratios(batch),
    ]


def of_counts(batch: Batch) -> Iterator[Reading]:
    """How much was measured, and how much left out because it is not finite."""
    yield Reading(spec("policy_tokens"), sum_of("asked", *SOUND))
    if batch.has("rewards"):
        yield Reading(spec("policy_sequences"), sum_of("asked", *REWARDED, axis=SEQUENCES))
    yield _lost("logits", sum_of("asked", ASKED, negated(FINITE)))
    if batch.taken or batch.has("advantages") or batch.has("ref_logits"):
        yield _lost("signal", sum_of("asked", *SOUND, negated(*VALID)))
    if batch.has("rewards"):
        yield _lost("rewards", sum_of("asked", negated(*REWARDED), axis=SEQUENCES))


def _lost(tensor: str, amount: Sum) -> Reading:
    return Reading(STATISTICS["nonfinite_count"].series(PLACE, {"tensor": tensor}), amount)


def _divergences(batch: Batch) -> Iterator[Reading]:
    if batch.judged:
        yield _mean("policy_cov", "product")
        yield _share("policy_cov_above_1", above("product", 1.0))
        yield _share("policy_cov_above_5", above("product", 5.0))
    told = [name for name in ("ref", "old") if batch.taken and batch.has(f"{name}_logprobs")]
    for k in ("k1", "k3"):
        for name in told:
            yield _mean(f"kl_{name}_{k}", f"{name}_{k}")
    if "ref" in told:
        yield _mean("kl_ref_k2", "ref_k1", squared=True, scale=0.5)
        yield _share("kl_ref_clamped", above("ref_gap", CLAMPED), estimate="sampled")
    if batch.has("ref_logits"):
        yield _mean("kl_ref_exact", "exact")
        yield _share("kl_ref_clamped", above("exact", CLAMPED), estimate="exact")


def _advantages(batch: Batch) -> Iterator[Reading]:
    if not batch.has("advantages"):
        return
    yield _mean("advantage_std", "advantages", how="deviation")
    yield _share("advantage_positive", GOOD)
    yield _share("advantage_zero", above("advantages", -TINY), upto("advantages"))
    for number, source in enumerate(batch.sources):
        yield _within("advantage_source", "strength", *VALID, *_is("sources", number), source=source)


def _changes(batch: Batch) -> Iterator[Reading]:
    if not batch.judged:
        return
    yield _mean("entropy_change_predicted", "change")
    yield _mean("entropy_change_raising", "change", above("change"))
    yield _mean("entropy_change_lowering", "change", upto("change"))
    for (likely, sign), facts in QUADRANTS.items():
        yield _mean("entropy_change_cell", "change", *facts, probability=likely, advantage=sign)
    yield Reading(spec("policy_cov_top"), Cell("rise_top"), sum_of("rise", *VALID), checked=checked(VALID))


def _parts(batch: Batch) -> Iterator[Reading]:
    def part(*facts: Fact, **labels: str) -> Reading:
        return _within("policy_entropy_part", "entropy", *facts, **labels)

    if batch.has("advantages"):
        yield from (part(*VALID, fact, advantage=sign) for sign, fact in SIDES.items())
    if batch.has("outcome"):
        least = 0.5 if batch.has("correct") else 0.0
        yield part(*SOUND, above("outcome", least), outcome="right")
        yield part(*SOUND, upto("outcome", least), outcome="wrong")
    if batch.has("turns"):
        for turn in range(TURNS - 1):
            yield part(*SOUND, *_is("turns", turn), turn=str(turn))
        yield part(*SOUND, above("turns", TURNS - 1.5), turn="later")


def _clipping(batch: Batch) -> Iterator[Reading]:
    if not (batch.judged and batch.has("old_logprobs")):
        return
    beyond = above("old_k1", math.log1p(batch.clip.high))
    least = math.log1p(-batch.clip.low) if batch.clip.low < 1 else -math.inf
    below = upto(
        "old_k1", math.nextafter(least, -math.inf)
    )  # less than it: a ratio of 1 is within any bounds
    yield _share("clip_high", GOOD, beyond)
    yield _share("clip_low", BAD, below)
    yield _share("clip_dual", BAD, above("old_k1", math.log(batch.clip.dual)))
    for (likely, sign), facts in QUADRANTS.items():
        for side, fact in (("high", beyond), ("low", below)):
            yield _share("clip_cell", *facts, fact, probability=likely, advantage=sign, side=side)
    for name, (least, most) in BUCKETS.items():
        bounds = [above("old", math.log(least))] if least else []
        bounds += [upto("old", math.log(most))] if most < 1 else []
        yield _share("clip_bucket", GOOD, beyond, *bounds, old=name, side="high")
        yield _share("clip_bucket", BAD, below, *bounds, old=name, side="low")


def _rare(batch: Batch) -> Iterator[Reading]:
    if not batch.taken:
        return
    rare = (upto("logp", SPARK), above("worth", -TINY))
    yield _share("spark_share", *rare)
    yield Reading(spec("spark_count"), sum_of("asked", *VALID, *rare), checked=checked(VALID))
    yield _share("noise_share", upto("worth", -TINY))
    if batch.judged:
        yield _within("spark_advantage", "advantages", *VALID, *rare)
        mastered = sum_of("asked", *VALID, GOOD, above("logp", MASTERED))
        yield Reading(
            spec("mastered_positive"), mastered, sum_of("asked", *VALID, GOOD), checked=checked(VALID)
        )


def _ratios(batch: Batch) -> Iterator[Reading]:
    if batch.taken and batch.has("old_logprobs"):
        yield _mean("importance_ess", "ratio", how="concentration")
        yield _mean("importance_ratio_mean", "ratio")
        yield Reading(spec("importance_ratio_max"), Cell("ratio_top"), checked=checked(VALID))
    if batch.ratios:
        has = above("ratio")
        top, size = (sum_of(quantity, has, axis=SEQUENCES) for quantity in ("ratio", "asked"))
        yield Reading(spec("sequence_ratio_mean"), top, size, checked=checked(VALID))
        yield Reading(spec("sequence_ratio_max"), Cell("sequence_ratio_top"), checked=checked(VALID))
    if batch.taken and batch.has("rollout_logprobs"):
        yield _mean("mismatch_k3", "rollout_k3")
        yield Reading(spec("mismatch_max"), Cell("gap_top"), checked=checked(VALID))
        yield _share("mismatch_far", above("gap", FAR))


# -- shorthand ---------------------------------------------------------------------------------------------------------


def spec(name: str, **labels: str) -> SeriesSpec:
    """The series of a statistic, which has no place."""
    return STATISTICS[name].series("", labels)


def sum_of(quantity: str, *over: Fact, axis: str = TOKENS, squared: bool = False) -> Sum:
    """Of a quantity over the entries of which all these facts are true."""
    return Sum(axis, quantity, over, squared)


def checked(base: Subset, axis: str = TOKENS) -> tuple[Sum, Sum]:
    """How many entries are so, and how many there are."""
    return sum_of("asked", *base, axis=axis), sum_of("asked", axis=axis)


def _mean(
    name: str,
    quantity: str,
    *facts: Fact,
    base: Subset = VALID,
    how: How = "mean",
    squared: bool = False,
    scale: float = 1.0,
    **labels: str,
) -> Reading:
    """What the tokens of which these facts are true contribute to the mean over all of ``base``."""
    total = sum_of(quantity, *base, *facts, squared=squared)
    size = sum_of("asked", *base)
    return Reading(spec(name, **labels), total, size, how=how, scale=scale, checked=checked(base))


def _share(name: str, *facts: Fact, base: Subset = VALID, **labels: str) -> Reading:
    """How many of these that are."""
    total, size = sum_of("asked", *base, *facts), sum_of("asked", *base)
    return Reading(spec(name, **labels), total, size, checked=checked(base))


def _within(name: str, quantity: str, *facts: Fact, **labels: str) -> Reading:
    """The mean over those tokens alone."""
    return Reading(spec(name, **labels), sum_of(quantity, *facts), sum_of("asked", *facts))


def _is(quantity: str, number: int) -> Subset:
    """An integer quantity has this value."""
    return above(quantity, number - 0.5), upto(quantity, number + 0.5)


def negated(fact: Fact) -> Fact:
    """That it is not so."""
    return Fact(fact.quantity, fact.threshold, not fact.holds)
