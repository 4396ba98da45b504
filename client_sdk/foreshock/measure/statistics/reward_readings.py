"""What is given of a policy's batch in; the readings that its sequences and groups allow, in their order, out.

A reading names the sequences that it is about by facts of their quantities, which `groups.quantities` explains.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import groups
from .policy_readings import REWARDED, SEQUENCES, Batch, checked, negated, spec, sum_of
from .tally import Cell, Fact, Reading, Sum, above, upto

LEADS, SEVERAL, ALIKE = above("leads", 0.5), above("members", 1.5), upto("differing")


def of_rewards(batch: Batch) -> Iterator[Reading]:
    """Of rewards, and of those of one group."""
    if not batch.has("rewards"):
        return
    sound = checked(REWARDED, SEQUENCES)
    total, size = _sum_of("reward", *REWARDED), _sum_of("asked", *REWARDED)
    yield Reading(spec("reward_mean"), total, size, checked=sound)
    yield Reading(spec("reward_std"), total, size, how="deviation", checked=sound)
    if batch.grouped:
        counted = (LEADS, SEVERAL, above("sound", 0.5))
        high = above("top", 0.5)
        number = _sum_of("asked", *counted)
        for name, facts in (
            ("zero_variance_groups", (ALIKE,)),
            ("zero_variance_all_high", (ALIKE, high)),
            ("zero_variance_all_low", (ALIKE, negated(high))),
        ):
            yield Reading(spec(name), _sum_of("asked", *counted, *facts), number, checked=sound)
        quantiles = ((f"p{percent}", f"at_{percent}") for percent in groups.PERCENTILES)
        for name, quantity in (("std", "spread"), ("max", "most"), ("min", "least"), *quantiles):
            total = _sum_of(quantity, *counted)
            yield Reading(spec(f"group_reward_{name}"), total, number, checked=sound)
    for percent in groups.PERCENTILES:
        name = f"reward_p{percent}"
        yield Reading(spec(name), Cell(name), checked=sound)


def of_groups(batch: Batch) -> Iterator[Reading]:
    """Of what is right, and of answers."""
    if not batch.grouped:
        return
    if batch.has("correct") or batch.has("rewards"):
        judged = (LEADS,) if batch.has("correct") else (LEADS, above("sound", 0.5))
        for k in groups.samples(batch.group):
            enough = (*judged, above("members", k - 0.5))
            total, number = (_sum_of(quantity, *enough) for quantity in (f"pass_{k}", "asked"))
            yield Reading(spec("pass_at", k=str(k)), total, number, scale=-1.0)
        solved = _sum_of("asked", *judged, above("solved", 0.5))
        yield Reading(spec("solved_by_any"), solved, _sum_of("asked", *judged))
    if batch.has("answers"):
        number = _sum_of("asked", LEADS, SEVERAL)
        for name, quantity in (("unique_answers", "unique"), ("answer_entropy", "undecided")):
            yield Reading(spec(name), _sum_of(quantity, LEADS, SEVERAL), number)


def _sum_of(quantity: str, *over: Fact) -> Sum:
    return sum_of(quantity, *over, axis=SEQUENCES)
