"""The alert state machine, drawn: `.` clear, `-` between the levels, `x` breach, `X` critical, `?` no verdict; one reading per step.

Answers are drawn too: `o` ok, `p` pending, `f` firing as a warning, `F` firing as critical.
"""

from __future__ import annotations

import random

import pytest

from foreshock_server.rules.state import Advance, Kind, Machine, Policy, Reason, Severity, State, advance

VERDICTS = {
    ".": {"breach": False, "critical": False, "clear": True},
    "-": {"breach": False, "critical": False, "clear": False},
    "x": {"breach": True, "critical": False, "clear": False},
    "X": {"breach": True, "critical": True, "clear": False},
    "?": {"breach": None, "critical": False, "clear": False},
}


def drive(drawn, steps=None, **policy):
    """Every Advance of the readings drawn."""
    rules = Policy(**policy)
    machine, passed = Machine(), []
    for step, mark in zip(steps or range(len(drawn)), drawn, strict=True):
        passed.append(advance(machine, **VERDICTS[mark], step=step, policy=rules))
        machine = passed[-1].machine
    return passed


def draw(passed):
    """The states in letters."""

    def letter(machine):
        if machine.state is State.FIRING:
            return "F" if machine.severity is Severity.CRITICAL else "f"
        return "o" if machine.state is State.OK else "p"

    return "".join(letter(one.machine) for one in passed)


def kinds(passed):
    return [one.kind for one in passed if one.kind is not None]


@pytest.mark.parametrize(
    ("policy", "drawn", "states"),
    [
        ({}, "..xx.x", "ooffof"),  # by default it fires and resolves with one reading
        ({"for_steps": 2}, "xx.xxx", "ppoppf"),  # a good reading starts the count again
        ({"for_steps": 2}, "xx-xxx", "ppoppf"),  # so does one that is merely no breach
        ({"for_steps": 3}, "xxxx", "pppf"),
        ({}, "x--x.", "ffffo"),  # between the levels it keeps firing
        ({"keep_firing_steps": 2}, "x..x...", "ffffffo"),  # clear must last, and a breach starts it again
        ({"keep_firing_steps": 2}, "x.-...", "fffffo"),  # so does a reading that is not clear
        ({"min_samples": 4}, "xxxxx", "oooff"),  # too early to say anything
        ({"min_samples": 4, "for_steps": 1}, "xxxxx", "ooopf"),  # what came too early does not count
        ({"warmup_steps": 3}, "xxxx", "ooof"),
        ({}, "xX-X.", "fFFFo"),  # it grows critical once, and stays so until it ends
        ({}, "X", "F"),
        ({"for_steps": 2}, "xxXX", "ppff"),  # the critical level must last as well
        ({"for_steps": 2}, "XXX", "ppF"),
        ({"for_steps": 1}, "xxXxXX", "pffffF"),
        ({"severity": Severity.CRITICAL}, "x.", "Fo"),
        ({"cooldown_steps": 5}, "x.xxxxxx", "foppppff"),  # a warning waits …
        ({"cooldown_steps": 5}, "x.xX", "fopF"),  # … a critical one does not
        ({"cooldown_steps": 5}, "x.x.....x", "fopooooof"),
    ],
)
def test_it_goes_through_the_states_drawn(policy, drawn, states):
    assert draw(drive(drawn, **policy)) == states


def test_a_reading_without_a_verdict_changes_nothing_whatever_the_state():
    for drawn in ("?", "x?", "xx?", "xxx?", "xxx.?"):
        passed = drive(drawn, for_steps=2, keep_firing_steps=1)
        before = passed[-2].machine if len(passed) > 1 else Machine()
        assert passed[-1] == Advance(before, None, Reason.NO_VERDICT)


def test_a_breach_goes_on_across_readings_without_a_verdict():
    assert draw(drive("x??x", for_steps=3)) == "pppf"


def test_a_step_that_comes_again_adds_no_age():
    assert draw(drive("xxxx", steps=[5, 5, 5, 6], for_steps=1)) == "pppf"


def test_a_paused_job_does_not_age_into_an_alert():
    # The machine has no clock: however long the pause between the two readings, only steps count.
    assert draw(drive("xx", steps=[100, 101], for_steps=50)) == "pp"


def test_a_gap_counts_with_its_steps_when_both_ends_are_breached():
    assert draw(drive("xx", steps=[100, 150], for_steps=50)) == "pf"


def test_a_gap_counts_for_nothing_when_its_end_is_good():
    assert draw(drive("x.x", steps=[100, 150, 151], for_steps=50)) == "pop"


def test_a_resume_from_a_checkpoint_goes_on_counting():
    # 98, 99, 100 | back to 90: the steps that are trained again add up from there
    passed = drive("xxxxxx", steps=[98, 99, 100, 90, 91, 92], for_steps=4)
    assert draw(passed) == "pppppf"
    assert passed[-1].machine.since_step == 98


def test_a_firing_alert_survives_a_resume_and_says_so_once():
    passed = drive("xxxx", steps=[98, 99, 90, 91])
    assert (draw(passed), kinds(passed)) == ("ffff", [Kind.FIRED])


def test_keep_firing_is_not_shortened_by_a_resume():
    assert draw(drive("x....", steps=[98, 99, 100, 90, 91], keep_firing_steps=2)) == "ffffo"


def test_an_episode_is_told_from_its_first_breach_to_its_end():
    passed = drive("..xxxX...", steps=range(10, 19), for_steps=2, keep_firing_steps=1)
    # fired at 14 after the breach of 12; critical at 15 must itself last two steps, so it never escalates
    assert draw(passed) == "ooppfffoo"
    assert kinds(passed) == [Kind.FIRED, Kind.RESOLVED]
    fired = passed[4].machine
    assert (fired.episode, fired.since_step, fired.fired_step) == (1, 12, 14)
    ended = passed[7].machine
    assert (ended.episode, ended.since_step, ended.fired_step) == (1, None, None)


def test_each_firing_is_an_episode_of_its_own():
    passed = drive("x.x.x")
    assert [one.machine.episode for one in passed] == [1, 1, 2, 2, 3]
    assert kinds(passed) == [Kind.FIRED, Kind.RESOLVED, Kind.FIRED, Kind.RESOLVED, Kind.FIRED]


def test_it_says_why():
    def reasons(*args, **policy):
        return [one.reason for one in drive(*args, **policy)]

    assert reasons(".x.", for_steps=1) == [Reason.GOOD, Reason.BREACH_BEGAN, Reason.BREACH_ENDED]
    assert reasons("xxx", for_steps=2) == [Reason.BREACH_BEGAN, Reason.BREACH_LASTS, Reason.BREACH_HELD]
    assert reasons("xX-..", keep_firing_steps=1) == [
        Reason.BREACH_HELD,
        Reason.GREW_CRITICAL,
        Reason.NOT_CLEAR,
        Reason.CLEARING,
        Reason.CLEARED,
    ]
    assert reasons("xx", min_samples=2) == [Reason.TOO_FEW_SAMPLES, Reason.BREACH_HELD]
    assert reasons("xx")[1] is Reason.STILL_BREACHED
    assert reasons("x.x", cooldown_steps=9)[2] is Reason.COOLING_DOWN
    assert reasons("x", warmup_steps=1) == [Reason.WARMING_UP]
    assert reasons("?") == [Reason.NO_VERDICT]


def test_whatever_comes_fired_and_resolved_alternate_and_episodes_count_up():
    chance = random.Random(0)
    for _ in range(300):
        drawn = "".join(chance.choices("..--xxX?", k=60))
        steps, step = [], 0
        for _ in drawn:
            step = max(0, step + chance.choice([0, 1, 1, 1, 5, -20]))
            steps.append(step)
        policy = {
            "for_steps": chance.randrange(4),
            "keep_firing_steps": chance.randrange(4),
            "cooldown_steps": chance.randrange(9),
            "min_samples": chance.randrange(1, 5),
        }
        passed = drive(drawn, steps, **policy)
        changes = [kind for kind in kinds(passed) if kind is not Kind.ESCALATED]
        assert changes == [Kind.FIRED, Kind.RESOLVED] * (len(changes) // 2) + [Kind.FIRED] * (
            len(changes) % 2
        )
        assert passed[-1].machine.episode == changes.count(Kind.FIRED)
        escalations = [one.machine.episode for one in passed if one.kind is Kind.ESCALATED]
        assert len(escalations) == len(set(escalations))
        for one in passed:
            firing = one.machine.state is State.FIRING
            assert firing == (one.machine.fired_step is not None)
            assert (one.machine.state is State.OK) == (one.machine.since_step is None)
