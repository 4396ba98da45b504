"""The zoo of collapsing trainings and their healthy twins: the built-in rules as they ship, beside what else people set an alarm with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from tests.bench.report import Measure, quantile
from tests.zoo.judging import campaign, pairs
from tests.zoo.judging.counted import Score, counted, subjects, total
from tests.zoo.judging.trial import Ran

PROCESSES = 2


def measured(quick: bool, processes: int = PROCESSES) -> list[Measure]:
    """Of each family and of all; `quick`: one pair, one seed of each size."""
    names = ["simsiam"] if quick else pairs.names()
    wanted = (
        campaign.settings(campaign.TUNING_SEEDS[:1], campaign.REPORTED_SEEDS[:1])
        if quick
        else campaign.settings()
    )
    ran = campaign.campaign(names, wanted, processes, _say)
    tuning = [one for one in ran if one.setting.size == "tuning"]
    reported = [one for one in ran if one.setting.size == "reported"]
    better = {name: pairs.load(name).better for name in names}
    scores = {name: counted(subject, reported, better) for name, subject in subjects(tuning).items()}
    of_family = {
        family: {name: by_family[family] for name, by_family in scores.items()}
        for family in sorted({one.family for one in reported})
    }
    of_family["all"] = {name: total(some.values()) for name, some in scores.items()}
    print(table(of_family), flush=True)
    return [one for family, some in of_family.items() for one in _measures(family, some) if one.runs]


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
    return f"{quantile(numbers, 0.5):.3g} ({min(numbers):.3g} to {max(numbers):.3g})"


def _say(ran: Ran) -> None:
    way = "collapsing" if ran.setting.collapses else "healthy"
    alarm, seen = ran.alarm(pack=ran.family if ran.setting.collapses else None), ran.alarm(pages=False)
    said = f"page at {alarm.step} ({alarm.rule})" if alarm else "no page"
    only = f", warning at {seen.step} ({seen.rule})" if seen and not alarm else ""
    print(
        f"{ran.pair} {way} {ran.setting.size} {ran.setting.seed}: {ran.seconds:.1f} s, {said}{only}",
        flush=True,
    )


def _measures(family: str, scores: dict[str, Score]) -> list[Measure]:
    def measure(
        what: str, unit: str, better: Literal["lower", "higher"], of: Callable[[Score], list[float]]
    ) -> Measure:
        found = Measure(
            f"trainings, {family}: {what}", unit, better
        )  # no row of whom there is nothing to tell
        for subject, score in scores.items():
            for number in of(score):
                found.add(subject, number)
        return found

    def per(count: Callable[[Score], int], of: Callable[[Score], int]) -> Callable[[Score], list[float]]:
        return lambda score: [count(score) / of(score)]

    return [
        measure(
            "collapsing runs with an alarm of their family",
            "share",
            "higher",
            per(lambda s: s.found, lambda s: s.collapsing),
        ),
        measure("healthy runs with any alarm", "share", "lower", per(lambda s: s.false, lambda s: s.healthy)),
        measure(
            "healthy runs with an alarm of their family",
            "share",
            "lower",
            per(lambda s: s.false_own, lambda s: s.healthy),
        ),
        measure(
            "healthy runs with any alarm, by steps",
            "per 1,000 steps",
            "lower",
            per(lambda s: 1000 * s.false, lambda s: s.healthy_steps),
        ),
        measure(
            "share of the beginning that is left at the alarm", "share", "higher", lambda s: list(s.left)
        ),
        measure(
            "from the alarm until the outcome shows it",
            "steps",
            "higher",
            lambda s: [float(n) for n in s.leads],
        ),
        measure(
            "from the alarm to the end, where the outcome never shows it",
            "steps",
            "higher",
            lambda s: [float(n) for n in s.unseen],
        ),
    ]
