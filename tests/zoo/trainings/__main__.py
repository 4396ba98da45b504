"""`python -m tests.zoo.trainings NAME`: trains a pair, and prints its outcome, its alerts and the statistics that its pack watches."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tests.zoo.judging import pairs
from tests.zoo.judging.kept import tried
from tests.zoo.judging.outcome import shows
from tests.zoo.judging.service import packs_of_rules
from tests.zoo.judging.trial import Curve, Ran, Told
from tests.zoo.trainings.pair import Setting

POINTS = 12  # of a curve that are printed


def main() -> int:
    """0 when a rule of its pack pages in the collapsing run, and none of any pack in the healthy one."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.trainings", description=__doc__)
    parser.add_argument("name", help=f"one of {', '.join(pairs.names())}")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--size", choices=["tuning", "reported"], default="tuning")
    parser.add_argument("--only", choices=["collapsing", "healthy"], help="one of the two")
    parser.add_argument("--keep", type=Path, help="a folder in which trainings stay, to be judged again")
    parser.add_argument("--places", type=int, default=4, help="of one statistic, how many are printed")
    chosen = parser.parse_args()
    try:
        pair = pairs.load(chosen.name)
    except ValueError as wrong:
        parser.error(str(wrong))
    packs = sorted(set(packs_of_rules().values()))
    if pair.family not in packs:
        parser.error(
            f"{pair.name} is of the family {pair.family!r}; write the name of a pack: {', '.join(packs)}"
        )
    ways = [
        collapses for collapses in (True, False) if chosen.only != ("healthy" if collapses else "collapsing")
    ]
    print(f"{pair.name} ({pair.family}): {pair.about}")
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        keep = chosen.keep or Path(folder)
        ran = [tried(pair, Setting(chosen.seed, collapses, chosen.size), keep) for collapses in ways]
    for one in ran:
        print("\n".join(_described(one, pair.outcome)))
    if len(ran) == 2:
        step = shows(ran[0].outcome, [ran[1].outcome], pair.better)
        print(
            f"\nbeside this one twin the outcome shows it {'never' if step is None else f'at step {step:,}'}"
        )
    print("\n".join(_levels(ran, chosen.places)))
    missed = any(one.alarm(pack=one.family) is None for one in ran if one.setting.collapses)
    false = any(one.alarm() is not None for one in ran if not one.setting.collapses)
    return int(missed or false)


def _described(ran: Ran, outcome: str) -> list[str]:
    lines = [
        f"\n{ran.setting.way}, {ran.setting.size}, seed {ran.setting.seed}: {ran.steps:,} steps in {ran.seconds:.1f} s",
        f"  {outcome:<34}{_drawn(ran.outcome)}",
    ]
    if not ran.told:
        lines.append("  no rule fired")
    for (rule, kind, severity), some in _grouped(ran).items():
        first = next((one for one in some if one.message), some[0])
        paged = "page" if first.message else "    "
        lines.append(
            f"  {paged} {first.pack}/{rule} {kind} {severity} at step {first.step:,}: {first.sentence}"
        )
    return lines


def _grouped(ran: Ran) -> dict[tuple[str, str, str], list[Told]]:
    found: dict[tuple[str, str, str], list[Told]] = {}
    for one in ran.told:
        found.setdefault((one.rule, one.kind, one.severity), []).append(one)
    return found


def _levels(ran: Sequence[Ran], places: int) -> Iterable[str]:
    """Of each statistic that the pair's pack watches, by place, how it went in each run."""
    for statistic in sorted(set().union(*(one.own for one in ran))):
        yield f"\n{statistic}"
        keys = sorted(
            {key for one in ran for key, curve in one.watched.items() if curve.statistic == statistic}
        )
        for key in keys[:places]:
            for one in ran:
                if key in one.watched:
                    place = key[len(statistic) :] or one.setting.way
                    yield f"  {place:<24.24} {one.setting.way:<11}{_drawn(one.watched[key])}"
        if len(keys) > places:
            yield f"  … and {len(keys) - places} more; --places shows more"


def _drawn(curve: Curve) -> str:
    """Its values at some readings that lie evenly, the first and the last among them, as step:value."""
    if not len(curve.steps):
        return "nothing"
    places: NDArray[np.intp] = np.unique(np.linspace(0, len(curve.steps) - 1, POINTS).astype(np.intp))
    return " ".join(f"{curve.steps[i]}:{curve.values[i]:.3g}" for i in places)


if __name__ == "__main__":
    sys.exit(main())
