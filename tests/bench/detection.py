"""When does an alarm sound? The built-in rules as they ship, beside classics, on the same series: synthetic ones here, then real trainings.

Every detector gets the same readings and the same number of them for its baseline. Only a run's *first* alarm counts: one that
sounds before the fall began is a false alarm, and such a run is not detected. One run here is a batch of series.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from tests.bench import trainings
from tests.bench.report import OURS, Measure
from tests.server.rules import test_detection as synthetic

from foreshock_server.rules.load import builtin_packs, parse_pack
from foreshock_server.rules.pack import Rule
from foreshock_server.rules.state import Kind, Machine, advance

Values = NDArray[np.float64]
Alarm = Callable[[Values], "int | None"]  # readings -> index of the first alarm
# The generators of the regression test, whose docstrings say what the runs look like.
healthy: Callable[[int, np.random.Generator], Values] = synthetic.healthy
collapse: Callable[..., synthetic.Fall] = synthetic.collapse
fall_from_the_start: Callable[[int, np.random.Generator], synthetic.Fall] = synthetic.fall_from_the_start
BATCHES = 3
STEPS = 5000
LONG, SHORT = (
    200,
    10,
)  # readings of the baseline: a long one after a healthy beginning, a short one where the fall may begin at once


def run(
    folder: Path, quick: bool, pairs: Sequence[str] = (), keep: Path | None = None
) -> Iterator[list[Measure]]:
    """After a healthy beginning (a rank, say), from the first step on (the policy entropy of a fine-tuning run), and the zoo, of which more
    is known after each pair."""
    size, batches = (3, 2) if quick else (100, BATCHES)
    rank, entropy = builtin("effective_rank"), builtin("policy_entropy")
    later = {OURS: ours(rank), **classics(LONG)}
    at_once = {OURS: ours(entropy), **classics(SHORT)}
    drawn = [
        *_measured("fall after 500 to 3000 steps", later, size, batches, at_once=False),
        *_measured("fall from the first step", at_once, size, batches, at_once=True),
    ]
    for real in trainings.measured(quick, pairs, keep):
        yield [*drawn, *real]


def builtin(statistic: str) -> Rule:
    """The built-in forecast rule that watches this statistic."""
    for name, text in builtin_packs():
        for rule in parse_pack(text, name).rules:
            if rule.detector.kind == "forecast-drop" and any(
                m.statistic.startswith(statistic) for m in rule.matches
            ):
                return rule
    raise LookupError(f"no built-in forecast rule watches {statistic}")


def ours(rule: Rule) -> Alarm:
    """The rule with its detector and its state machine, one reading per step."""

    def first(readings: Values) -> int | None:
        memory, machine = rule.detector.initial(), Machine()
        for step, value in enumerate(readings.tolist()):
            memory, said = rule.detector.update(memory, step, value)  # type: ignore[arg-type]  # its own memory
            moved = advance(
                machine,
                breach=said.breach,
                critical=said.critical,
                clear=said.clear,
                step=step,
                policy=rule.policy,
            )
            machine = moved.machine
            if moved.kind is Kind.FIRED:
                return step
        return None

    return first


def classics(records: int) -> dict[str, Alarm]:
    """A level, an EWMA chart and a CUSUM with textbook limits, on ln(value), all one-sided downwards."""

    def standardised(readings: Values) -> tuple[Values, Values]:
        logs = np.log(readings)
        base = logs[:records]
        return logs - np.median(base), (logs - base.mean()) / max(float(base.std(ddof=1)), 1e-9)

    def level(readings: Values) -> int | None:
        drop, _ = standardised(readings)
        medians = np.median(sliding_window_view(drop, 9), axis=1)
        return _first(medians < math.log(0.5), 8, records)

    def ewma(readings: Values) -> int | None:
        _, z = standardised(readings)
        weight, smooth, last = 0.2, np.empty(len(z)), 0.0
        for at, one in enumerate(z):
            last = (1 - weight) * last + weight * one
            smooth[at] = last
        return _first(smooth < -3 * math.sqrt(weight / (2 - weight)), 0, records)

    def cusum(readings: Values) -> int | None:
        _, z = standardised(readings)
        total = 0.0
        for at in range(records, len(z)):
            total = max(0.0, total - z[at] - 0.5)
            if total > 5:
                return at
        return None

    return {"level, median of 9 below half": level, "EWMA, L=3": ewma, "CUSUM, h=5": cusum}


def _first(alarm: np.ndarray[tuple[int], np.dtype[np.bool_]], offset: int, from_index: int) -> int | None:
    """The first index from `from_index` on, of an array whose first element is about reading `offset`."""
    found = np.flatnonzero(alarm[max(0, from_index - offset) :])
    return int(found[0]) + max(offset, from_index) if len(found) else None


def _measured(
    scenario: str, alarms: dict[str, Alarm], size: int, batches: int, *, at_once: bool
) -> list[Measure]:
    false = Measure(f"healthy runs of {STEPS} steps with an alarm ({scenario})", "share", "lower")
    found = Measure(f"collapses with their first alarm before 20 % is left ({scenario})", "share", "higher")
    level = Measure(f"share of the beginning that is left at the alarm ({scenario})", "share", "higher")
    lead = Measure(f"steps between the alarm and 20 % ({scenario})", "steps", "higher")
    for batch in range(batches):
        chance = np.random.default_rng(batch)
        calm = [healthy(STEPS, chance) for _ in range(size)]
        if at_once:
            falls = [fall_from_the_start(STEPS, chance) for _ in range(size)]
        else:
            falls = [collapse(STEPS, chance, first=500, last=3000) for _ in range(size)]
        for subject, alarm in alarms.items():
            false.add(subject, sum(alarm(readings) is not None for readings in calm) / size)
            hits = _hits(alarm, falls)
            found.add(subject, len(hits) / size)
            if hits:
                level.add(subject, (fall.share[at] for at, fall in hits))
                lead.add(subject, (fall.gone - at for at, fall in hits))
    for measure in (level, lead):
        for subject in alarms.keys() - measure.runs.keys():
            measure.absent(subject, "it detected none: every first alarm was a false one")
    return [false, found, level, lead]


def _hits(alarm: Alarm, falls: Sequence[synthetic.Fall]) -> list[tuple[int, synthetic.Fall]]:
    firsts = [(alarm(fall.values), fall) for fall in falls]
    return [(at, fall) for at, fall in firsts if at is not None and fall.start <= at <= fall.gone]
