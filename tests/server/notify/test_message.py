"""Rows -> Message: exact numbers, named non-finite ones, nothing invented."""

from __future__ import annotations

import json
import math

import pytest

from foreshock_server.notify.message import iso, message_of, number, share


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.25, 0.25), (3, 3.0), (math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity"), ("NaN", "NaN"),
        ("-Infinity", "-Infinity"), ("0.3", None), (None, None), (True, None), ([], None),
    ],
)  # fmt: skip
def test_numbers_stay_numbers_and_non_finite_ones_get_names(value, expected):
    assert number(value) == expected


def test_a_share_is_only_stated_where_it_says_something():
    assert share(0.25, 0.5) == 0.5
    assert share(-0.5, 0.5) == -1.0
    for value, baseline in [("NaN", 1.0), (1.0, "NaN"), (1.0, 0.0), (1.0, -2.0), (None, 1.0), (1.0, None)]:
        assert share(value, baseline) is None


def test_a_nan_is_told_as_a_nan_and_the_body_is_standard_json(transition):
    fired = transition()
    fired.detail = {**fired.detail, "value": "NaN", "level": None, "threshold": None, "forecast": None}
    payload = message_of(fired, None, None, "http://f.test").payload()
    assert payload["alert"]["value"] == "NaN"
    assert payload["alert"]["share_of_baseline"] is None
    assert payload["alert"]["forecast"] is None
    assert json.loads(json.dumps(payload, allow_nan=False)) == payload


def test_without_run_and_series_the_message_still_names_both(transition):
    message = message_of(transition("resolved"), None, None, "http://f.test")
    assert message.type == "alert.resolved"
    assert message.run.name == "run-1"
    assert message.link == "http://f.test/runs/run-1"
    assert message.alert.unit == "nat"


def test_advice_may_be_plain_sentences(transition):
    fired = transition()
    fired.detail = {
        **fired.detail,
        "runbook": {"meaning": " ", "check": "Look.", "try": ["One.", "", {"text": "Two."}]},
    }
    book = message_of(fired, None, None, "http://f.test").alert.runbook
    assert book.meaning is None
    assert book.check == ("Look.",)
    assert [advice.text for advice in book.tries] == ["One.", "Two."]


def test_times_are_iso_8601_in_utc():
    assert iso(0.0) == "1970-01-01T00:00:00.000Z"
    assert iso(1792000000.5) == "2026-10-14T17:46:40.500Z"
