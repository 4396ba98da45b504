"""Which of many changes is worth a message. Places are letters; `a!` fires, `A!` fires critical, `a^` grows critical, `a.` resolves."""

from __future__ import annotations

import pytest

from foreshock_server.rules.incidents import speak
from foreshock_server.rules.pack import Notify
from foreshock_server.rules.state import Kind, Severity

KINDS = {"!": Kind.FIRED, "^": Kind.ESCALATED, ".": Kind.RESOLVED}


def messages(drawn, watched=30, **notify):
    """The messages, drawn alike: letter, episode, kind."""
    rule = Notify.model_validate(notify)
    firing, episodes, said = {}, {}, []
    for place, mark in drawn.split():
        series, kind = ord(place.lower()), KINDS[mark]
        episodes[series] = episodes.get(series, 0) + (kind is Kind.FIRED)
        critical = place.isupper() or kind is Kind.ESCALATED
        message = speak(
            firing,
            series_id=series,
            episode=episodes[series],
            kind=kind,
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            notify=rule,
            places=watched,
        )
        if message:
            sign = next(sign for sign, kind in KINDS.items() if kind is message.kind)
            said.append(f"{chr(message.series_id)}{message.episode}{sign}")
    return " ".join(said)


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        ("a! a.", "a1! a1."),  # one when it fires, one when it resolves
        ("a! a. a! a.", "a1! a1. a2! a2."),
        ("a! a^ a.", "a1! a1."),  # growing critical is on the page, not on the pager
        ("a! b! c! a. b. c.", "a1! a1."),  # the first speaks for all; the last to resolve ends it
        ("a! b! b. a.", "a1! a1."),
        ("a! b! a. a! b. a.", "a1! a1."),  # back before all had resolved: still the same trouble
        ("a! a. b! b.", "a1! a1. b1! b1."),
        ("a.", ""),  # what never spoke does not end aloud
    ],
)
def test_a_rule_speaks_once_when_it_begins_and_once_when_it_is_over(drawn, said):
    assert messages(drawn) == said


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        ("a! a.", ""),
        ("a! b! c! d! a. b. c. d.", ""),  # however many warn
        ("a! b! a^ b. a.", "a1^ a1."),  # the one that grows critical speaks, for all
        ("A! b! A. b.", "a1! a1."),
    ],
)
def test_a_rule_may_speak_only_of_what_is_critical(drawn, said):
    assert messages(drawn, watched=4, severity="critical") == said


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        ("a! a. b! b.", ""),  # single places stay on the page
        ("a! b! c! d! a. b. c. d.", "c1! c1."),  # the third place speaks
        ("a! a^ b! a. b.", "a1^ a1."),  # a critical one at once, as the escalation that it is
        ("A! A.", "a1! a1."),
        ("a! B! b. a.", "b1! b1."),
    ],
)
def test_a_rule_over_many_places_waits_for_enough_of_them_or_a_critical_one(drawn, said):
    assert messages(drawn, places=3, share=0.1) == said


@pytest.mark.parametrize(("places", "said"), [(1, "a1! a1."), (10, "a1! a1."), (11, ""), (100, "")])
def test_where_there_are_few_places_a_tenth_of_them_is_enough(places, said):
    rule = Notify.model_validate({"places": 3, "share": 0.1})
    firing = {}
    outcome = [
        speak(
            firing, series_id=1, episode=1, kind=kind, severity=Severity.WARNING, notify=rule, places=places
        )
        for kind in (Kind.FIRED, Kind.RESOLVED)
    ]
    assert bool(said) == all(outcome) == any(outcome)


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        ("a! a^ a.", "a1! a1^ a1."),
        ("a! b! b^ a^ a. b.", "a1! b1^ a1."),  # once per trouble
        ("A! A.", "a1! a1."),
    ],
)
def test_a_rule_may_ask_for_one_more_message_when_it_grows_critical(drawn, said):
    assert messages(drawn, escalation=True) == said
