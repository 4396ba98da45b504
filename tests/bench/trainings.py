"""The zoo of collapsing trainings and their healthy twins: the built-in rules as they ship, beside what else people set an alarm with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from tests.bench.report import OURS, Measure
from tests.zoo.judging import campaign, pairs, telling
from tests.zoo.judging.counted import Score, by_family, subjects
from tests.zoo.judging.trial import Ran

PROCESSES = 2
QUICK_SEED = 1000  # seen before: no seed that is reported is looked at by who only tries whether it runs


def measured(
    quick: bool, names: Sequence[str] = (), keep: Path | None = None, processes: int = PROCESSES
) -> Iterator[list[Measure]]:
    """Of each family and of all: what is known after each pair of these (default: all), the last is everything. `quick`: one pair where none
    is named, one seed of each size. `keep`: the folder in which trainings stay, for who was cut off."""
    names = names or (["simsiam"] if quick else pairs.names())
    wanted = campaign.settings(campaign.TUNING_SEEDS[:1], [QUICK_SEED]) if quick else campaign.settings()
    ran: list[Ran] = []
    failed: list[Measure] = []
    for tried in campaign.campaign(names, wanted, processes, telling.say, keep):
        if tried.error is None:
            ran += tried.ran
        else:
            failed.append(Measure(f"trainings, {tried.pair}", "", "lower"))
            failed[-1].absent(OURS, f"{type(tried.error).__name__}: {tried.error}")
        yield [*(_of(ran) if ran else ()), *failed]


def _of(ran: Sequence[Ran]) -> list[Measure]:
    tuning = [one for one in ran if one.setting.size == "tuning"]
    reported = [one for one in ran if one.setting.size == "reported"]
    better = {name: pairs.load(name).better for name in {one.pair for one in ran}}
    of_family = by_family(subjects(tuning), reported, better)
    print(telling.table(of_family), flush=True)
    return [one for family, some in of_family.items() for one in _measures(family, some) if one.runs]


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
