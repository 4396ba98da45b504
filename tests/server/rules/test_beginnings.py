"""What every kind of detector says from step 0, of few records, of a statistic that starts low, and of a baseline not worth having.

The table in rules/README.md ("From step 0") is these tests in words.
"""

from __future__ import annotations

import math
import random
from typing import NamedTuple

import pytest
from tests.server.rules.marks import drawn, nan, readings

from foreshock_server.rules.detectors import (
    KINDS,
    Absence,
    Band,
    Changed,
    ForecastDrop,
    NonFinite,
    Plateau,
    Shift,
    Slope,
    Spike,
    Threshold,
)

WELL, ILL = 10.0, 1.0
OWN = {
    "threshold": Threshold(kind="threshold", below=3, median=3),
    "band": Band(kind="band", low=3, high=30, median=3),
    "drop, absolute": Shift(kind="drop", to=0.5, absolute=3, median=3, baseline_records=8),
}  # with a level of their own
TO_BASELINE = {
    "threshold": Threshold(
        kind="threshold", below=0.3, median=3, relative_to_baseline=True, baseline_records=8
    ),
    "band": Band(kind="band", low=0.3, high=3, median=3, relative_to_baseline=True, baseline_records=8),
    "drop": Shift(kind="drop", to=0.3, median=3, baseline_records=8),
    "forecast-drop": ForecastDrop(
        kind="forecast-drop", block=4, blocks=8, min_blocks=4, median=3, baseline_records=8
    ),
}
TO_BEST = {"drop": Shift(kind="drop", to=0.3, against="best", median=3, baseline_records=8)}
WITHOUT = {
    "slope": Slope(kind="slope", below=-2, log=True, block=4, blocks=8, min_blocks=4),
    "spike": Spike(kind="spike", direction="down", window=32, min_records=16),
    "plateau": Plateau(kind="plateau", improves="up", records=30, median=3),
    "change": Changed(kind="change", least=5),
    "non-finite": NonFinite(kind="non-finite"),
}  # of any baseline
GROUPS = {"own": OWN, "first": TO_BASELINE, "best": TO_BEST, "without": WITHOUT}


class Said(NamedTuple):
    """The record of the first breach of each beginning; None: there is none."""

    begins_ill: int | None
    dies_early: int | None  # well for 6 records, ill for 14, then dead
    falls_early: int | None  # falls by equal factors from the first record to the 40th, then dead
    starts_low: int | None  # ill for 20 records as it has not begun, well for 40, ill again
    nan_first: int | None  # nothing but NaN for 20 records, well for 40, ill
    zero_first: int | None  # nothing but zero for 20 records, well for 40, ill


EXPECTED = {
    ("own", "threshold"): Said(2, 7, 22, 2, 61, 2),
    ("own", "band"): Said(2, 7, 22, 2, 61, 2),
    ("own", "drop, absolute"): Said(2, 7, 17, 2, 61, 2),
    ("first", "threshold"): Said(None, 7, 25, None, 61, None),
    ("first", "band"): Said(None, 7, 25, 21, 61, None),
    ("first", "drop"): Said(None, 7, 25, None, 61, None),
    ("first", "forecast-drop"): Said(None, 7, 15, None, 61, None),
    ("best", "drop"): Said(None, 9, 23, 61, 61, 61),
    ("without", "slope"): Said(None, 15, 15, 71, 71, 71),
    ("without", "spike"): Said(None, None, None, None, 60, 60),
    ("without", "plateau"): Said(32, None, 32, 58, 58, 58),
    ("without", "change"): Said(None, 6, None, 20, 60, 20),
    ("without", "non-finite"): Said(None, None, None, None, 0, None),
}


def around(level, count, chance):
    return [level * math.exp(chance.gauss(0, 0.01)) for _ in range(count)]


def begun(name):
    """Readings of a run with this beginning."""
    chance = random.Random(7)
    later = [*around(WELL, 40, chance), *around(ILL, 40, chance)]
    falling = [WELL * (ILL / WELL) ** (step / 39) * math.exp(chance.gauss(0, 0.01)) for step in range(40)]
    return {
        "begins_ill": around(ILL, 60, chance),
        "dies_early": [*around(WELL, 6, chance), *around(ILL, 14, chance)],
        "falls_early": falling,
        "starts_low": [*around(ILL, 20, chance), *later],
        "nan_first": [nan] * 20 + later,
        "zero_first": [0.0] * 20 + later,
    }[name]


def first_breach(detector, name):
    said = drawn(readings(detector, begun(name))).lower()
    return said.index("x") if "x" in said else None


CASES = [(group, kind) for group, some in GROUPS.items() for kind in some]


def test_every_kind_that_judges_readings_is_here():
    """`absence` judges that none come: test_absence.py."""
    there = {detector.kind for some in GROUPS.values() for detector in some.values()}
    assert there | {"rise", Absence.model_fields["kind"].annotation.__args__[0]} == set(KINDS)


@pytest.mark.parametrize("beginning", Said._fields)
@pytest.mark.parametrize(("group", "kind"), CASES, ids=" ".join)
def test_what_is_said_of_this_beginning(group, kind, beginning):
    assert first_breach(GROUPS[group][kind], beginning) == getattr(EXPECTED[group, kind], beginning)
