"""What is made of several series: which readings are combined, and what is said where there is nothing to combine."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from pydantic import TypeAdapter

from foreshock_server.rules.derived import AnyDerivation, Derivation, Moment

NAN = math.nan
OTHER = {"other": {"statistic": "y"}}
Row = tuple[dict[int, float], Sequence[float]]


def derivation(**given: object) -> Derivation:
    return TypeAdapter(AnyDerivation).validate_python(given)


def made(
    one: Derivation, rows: Sequence[tuple[int, int, Row]], *, rest: bool = False
) -> list[tuple[int, float]]:
    """(attempt, step, (first, other)) -> (step, value) of what is made. `rest`: through JSON after each row."""
    memory, found = one.initial(), []
    for attempt, step, (first, other) in rows:
        memory, some = one.take(memory, Moment((attempt, "w"), step, float(step)), first, other)
        found += [(each.step, each.value) for each in some]
        if rest:
            memory = one.load(json.loads(json.dumps(one.dump(memory), allow_nan=False)))
    return found


def pairs(
    *rows: tuple[float | None, float | None], attempt: int = 1, begin: int = 0
) -> list[tuple[int, int, Row]]:
    """A row a step: what is read of the series and of the other."""
    return [
        (attempt, step, ({} if one is None else {1: one}, () if two is None else (two,)))
        for step, (one, two) in enumerate(rows, begin)
    ]


def places(*rows: dict[int, float], attempt: int = 1, begin: int = 0) -> list[tuple[int, int, Row]]:
    return [(attempt, step, (row, ())) for step, row in enumerate(rows, begin)]


# --- two series


def test_a_reading_is_made_when_each_has_a_new_one_and_of_the_faster_its_last_counts():
    rows = pairs((1, None), (2, None), (3, 2), (4, None), (5, None), (None, 10), (None, 20), (6, None))
    assert made(derivation(kind="ratio", **OTHER), rows) == [(2, 1.5), (5, 0.5), (7, 0.3)]


def test_what_a_ratio_is_over_counts_as_no_less_than_is_said():
    rows = pairs((1, 0), (1, 0.1), (1, 0.5), (1, 4))
    assert made(derivation(kind="ratio", **OTHER), rows) == [(1, 10), (2, 2), (3, 0.25)]
    assert made(derivation(kind="ratio", least=0.2, **OTHER), rows) == [(0, 5), (1, 5), (2, 2), (3, 0.25)]


def test_before_the_first_series_is_read_the_other_does_not_count():
    """When it is known that there is such a series depends on how blocks are cut."""
    assert made(derivation(kind="ratio", **OTHER), pairs((None, 2), (3, None), (None, 6))) == [(2, 0.5)]


@pytest.mark.parametrize(("apart", "expected"), [(3, [(3, 2.0)]), (2, [])])
def test_what_is_too_far_apart_is_not_combined(apart, expected):
    rows = pairs((4, None), (None, None), (None, None), (None, 2))
    assert made(derivation(kind="ratio", max_age_steps=apart, **OTHER), rows) == expected


def test_the_newer_of_two_that_are_too_far_apart_waits_for_another():
    rows = pairs((4, None), *[(None, None)] * 5, (None, 2), (8, None))
    assert made(derivation(kind="ratio", max_age_steps=2, **OTHER), rows) == [(7, 4.0)]


@pytest.mark.parametrize("value", [NAN, math.inf])
def test_what_is_not_finite_is_no_reading_and_what_came_before_it_is_over(value):
    rows = pairs((1, None), (value, None), (None, 2), (3, None))
    assert made(derivation(kind="ratio", **OTHER), rows) == [(3, 1.5)]


@pytest.mark.parametrize("pair", [(1.0, 0.0), (1e300, 1e-300)])
def test_over_zero_and_beyond_all_numbers_there_is_no_ratio(pair):
    assert made(derivation(kind="ratio", **OTHER), pairs(pair, (1, 2))) == [(1, 0.5)]


def test_a_resume_forgets_what_waits_and_keeps_what_was_made():
    one = derivation(kind="correlation", window=8, **OTHER)
    before = pairs(*[(float(i), float(i)) for i in range(7)], (9.0, None))
    after = pairs((None, 9.0), (7.0, None), attempt=2, begin=5)
    expected = np.corrcoef(range(8), [*range(7), 9])[0, 1]
    assert made(one, before + after) == [(6, pytest.approx(expected))]
    assert made(derivation(kind="ratio", **OTHER), pairs((9.0, None)) + after) == [(6, pytest.approx(7 / 9))]


def test_the_correlation_is_pearsons():
    chance = np.random.default_rng(3)
    both = chance.normal(size=(40, 2)) @ [[1.0, 0.6], [0.0, 1.0]] * 1e-200
    found = made(derivation(kind="correlation", window=16, **OTHER), pairs(*map(tuple, both.tolist())))
    expected = [np.corrcoef(both[end - 16 : end].T * 1e200)[0, 1] for end in range(16, 41)]
    assert [value for _, value in found] == pytest.approx(expected)


def test_of_a_series_that_stands_still_there_is_no_correlation():
    assert (
        made(derivation(kind="correlation", window=8, **OTHER), pairs(*[(1.0, float(i)) for i in range(20)]))
        == []
    )


def ramp(begin: float, end: float) -> list[float]:
    return np.linspace(begin, end, 32).tolist()


@pytest.mark.parametrize(
    ("first", "other", "expected"),
    [
        (ramp(1, 2), ramp(1, 0.5), 0.463),  # the medians of blocks: from 1.05 to 1.95, and from 0.98 to 0.52
        (ramp(1, 2), ramp(1, 2), -0.463),
        (ramp(1, 2), ramp(1, 1), 0.0),
        (ramp(2, 1), ramp(1, 0.5), -0.463),
        (ramp(-0.5, 0.5), ramp(0.2, -0.2), 2.0),  # through zero: of the highest level of each
        (ramp(0, 0), ramp(1, 0.5), 0.0),
    ],
)
def test_how_far_two_part_is_the_lesser_of_rise_and_fall(first, other, expected):
    one = derivation(kind="divergence", window=32, **OTHER)
    [(step, value)] = made(one, pairs(*zip(first, other, strict=True)))
    assert (step, value) == (31, pytest.approx(expected, abs=0.001))
    turned = derivation(kind="divergence", window=32, falls=True, **OTHER)
    assert made(turned, pairs(*zip(other, first, strict=True))) == [(31, pytest.approx(value))]


@pytest.mark.parametrize(("end", "expected"), [(1.0, 0.463), (1.04, 0.463), (0.5, 0.463), (1.2, -0.152)])
def test_where_it_is_enough_that_the_other_holds_a_small_rise_counts_as_none(end, expected):
    one = derivation(kind="divergence", window=32, holds=0.05, **OTHER)
    [(_, value)] = made(one, pairs(*zip(ramp(1, 2), ramp(1, end), strict=True)))
    assert value == pytest.approx(expected, abs=0.001)
    down = derivation(kind="divergence", window=32, holds=0.05, falls=True, **OTHER)
    [(_, value)] = made(down, pairs(*zip(ramp(2, 1), ramp(1, 2 - end), strict=True)))
    assert (value > 0.4) == (expected > 0)


def test_two_noisy_series_that_hold_do_not_part():
    chance = np.random.default_rng(0)
    both = 1 + 0.1 * chance.normal(size=(5000, 2))
    found = [
        value for _, value in made(derivation(kind="divergence", **OTHER), pairs(*map(tuple, both.tolist())))
    ]
    assert max(found) < 0.15
    assert np.mean(np.array(found) > 0.05) < 0.02


# --- many places

MANY = {"kind": "across", "quantile": 0.25, "places": 2}


def test_places_that_are_read_together_make_a_reading_a_row():
    rows = places({1: 4, 2: 3, 3: 2, 4: 1, 5: 0}, {1: 5, 2: 5, 3: 5, 4: 5, 5: 5})
    assert made(derivation(**MANY), rows) == [(0, 1), (1, 5)]


def test_places_that_are_read_in_turns_make_a_reading_a_round():
    rows = places({1: 4, 2: 4}, {3: 1}, {1: 5}, {2: 6}, {3: 7}, {3: 2}, {1: 3}, {2: 9})
    # the third place comes only after a first round of two
    assert made(derivation(**MANY, max_age_steps=10), rows) == [(0, 4), (3, 1), (4, 5), (7, 2)]


def test_a_round_ends_when_a_place_comes_again_and_the_others_count_while_they_are_not_too_old():
    rows = places({1: 4, 2: 1}, *[{1: 4, 3: 5}] * 4, {1: 4, 3: 5})
    said = made(derivation(kind="across", quantile=0.0, places=2, max_age_steps=2), rows)
    # after the first row place 2 is awaited for two steps, each told as the next begins, and then forgotten
    assert said == [(0, 1), (1, 1), (2, 1), (3, 4), (4, 4), (5, 4)]


def test_with_too_few_places_there_is_no_reading():
    assert made(derivation(kind="across", share_below=1.0), places({1: 0, 2: 0}, {1: 0, 2: 0, 3: 0})) == [
        (1, 1.0)
    ]


def test_a_place_that_is_not_finite_does_not_count():
    rows = places({1: 4, 2: NAN, 3: 2}, {1: 4, 2: 0, 3: 2})
    assert made(derivation(**MANY), rows) == [(0, 2), (1, 0)]


def test_shares_of_places_beyond_a_level():
    rows = places({1: 0.1, 2: 0.5, 3: 0.9, 4: 0.5})
    assert made(derivation(kind="across", share_below=0.5), rows) == [(0, 0.25)]
    assert made(derivation(kind="across", share_above=0.4), rows) == [(0, 0.75)]


def test_places_are_compared_with_what_each_began_with():
    rows = places({1: 10, 2: 100, 3: -1}, {1: 5, 2: 100, 3: 1}, attempt=1) + places(
        {1: 2.5, 2: 100, 3: 5}, attempt=2
    )
    one = derivation(kind="across", quantile=0, relative_to_baseline=True, baseline_records=1, places=2)
    assert made(one, rows) == [(0, 1.0), (1, 0.5), (0, 0.25)]


def test_the_places_that_stand_out_are_told_the_worst_first():
    one = derivation(kind="across", share_above=0.4)
    _, [reading] = one.take(one.initial(), Moment((1, "w"), 0, 0.0), {7: 0.5, 8: 0.1, 9: 0.9}, ())
    assert (reading.says, reading.places) == ("2 of 3 places", (9, 7))


# --- another run


@pytest.mark.parametrize(
    ("measure", "expected"),
    [("ratio", [(0, 2.0), (3, 0.5)]), ("difference", [(0, 2.0), (1, 3.0), (3, -1.0)])],
)
def test_a_series_is_compared_with_what_another_run_read(measure, expected):
    rows = pairs((4, 2), (3, 0), (5, None), (1, 2), (NAN, 2), (None, 2))
    assert made(derivation(kind="reference", run="r", measure=measure), rows) == expected


# --- all of them

KINDS = [
    {"kind": "ratio", **OTHER},
    {"kind": "correlation", "window": 8, **OTHER},
    {"kind": "divergence", "window": 16, "agreement": 0.5, **OTHER},
    MANY,
    {"kind": "across", "share_below": 0.9, "relative_to_baseline": True, "baseline_records": 3, "places": 1},
]


def drawn(chance: random.Random, many: bool) -> list[tuple[int, int, Row]]:
    rows, attempt, step = [], 1, 0
    for _ in range(200):
        step += chance.choice([0, 1, 1, 5])
        if chance.random() < 0.03:
            attempt, step = attempt + 1, max(0, step - 7)

        def some(count: int) -> list[float]:
            return [NAN if chance.random() < 0.1 else chance.uniform(0, 2) for _ in range(count)]

        ids = [one for one in range(1, 5 if many else 2) if chance.random() < 0.6]
        row = dict(zip(ids, some(len(ids)), strict=True)), [] if many else some(chance.randrange(2))
        rows.append((attempt, step, row))
    return rows


@pytest.mark.parametrize("given", KINDS, ids=lambda one: one["kind"])
@pytest.mark.parametrize("seed", range(3))
def test_it_goes_on_from_what_is_stored_as_if_it_had_not_been(given, seed):
    one = derivation(**given, max_age_steps=4)
    rows = drawn(random.Random(seed), one.many)
    assert made(one, rows, rest=True) == made(one, rows) != []


@pytest.mark.parametrize("given", KINDS, ids=lambda one: one["kind"])
def test_the_memory_of_another_rule_is_begun_anew(given):
    one = derivation(**given)
    others = [derivation(**each) for each in KINDS if each["kind"] != given["kind"]]
    for other in others:
        assert one.load(other.dump(other.initial())) == one.initial()
    assert one.load({}) == one.initial()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "across"}, "exactly one of `quantile: SHARE`"),
        ({"kind": "across", "quantile": 0.5, "share_above": 1}, "exactly one of `quantile: SHARE`"),
        ({"kind": "ratio"}, "other"),
        ({"kind": "divergence", "window": 20, **OTHER}, "multiple of 8"),
    ],
)
def test_what_makes_no_sense_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        derivation(**given)
