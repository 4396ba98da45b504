"""What was found, in lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from tests.zoo.judging.counted import Score
from tests.zoo.judging.trial import Ran


def table(of_family: Mapping[str, Mapping[str, Score]]) -> str:
    """For people: a line for each family and subject; of level and lead the median, the least and the most."""
    lines = [
        f"\n{'family':<18}{'':<26}{'found':>8}{'false':>8}{'of family':>11}{'per 1,000':>11}{'left at alarm':>20}{'lead':>20}{'to the end':>20}"
    ]
    for family, scores in of_family.items():
        for name, one in scores.items():
            lines.append(
                f"{family:<18}{name:<26}{f'{one.found}/{one.collapsing}':>8}{f'{one.false}/{one.healthy}':>8}"
                f"{one.false_own:>11}{1000 * one.false / one.healthy_steps:>11.3f}"
                f"{_spread(one.left):>20}{_spread(one.leads):>20}{_spread(one.unseen):>20}"
            )
    return "\n".join(lines)


def _spread(numbers: Sequence[float]) -> str:
    if not numbers:
        return "none"
    return f"{median(numbers):.3g} ({min(numbers):.3g} to {max(numbers):.3g})"


def say(ran: Ran) -> None:
    """A line about one training."""
    alarm, seen = ran.alarm(pack=ran.family if ran.setting.collapses else None), ran.alarm(pages=False)
    said = f"page at {alarm.step} ({alarm.rule})" if alarm else "no page"
    only = f", warning at {seen.step} ({seen.rule})" if seen and not alarm else ""
    print(
        f"{ran.pair} {ran.setting.way} {ran.setting.size} {ran.setting.seed}: {ran.seconds:.1f} s, {said}{only}",
        flush=True,
    )
