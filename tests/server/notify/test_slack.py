"""The Slack payload: within Block Kit's limits whatever the rows hold, and telling firing from resolved at a glance."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.server.notify.limits import check_slack

from foreshock_server.models import Run, Series, Transition
from foreshock_server.notify.message import message_of, trial_message
from foreshock_server.notify.slack import blocks, escape
from foreshock_server.notify.wording import clip, show


def run_of(name: str = "brisk-otter", project: str = "grpo-math") -> Run:
    return Run(
        id="run-1", project=project, name=name, config={}, state="running", created_at=0.0, updated_at=0.0
    )


def series_of(place: str = "model.layers.3") -> Series:
    return Series(
        run_id="run-1", series_id=1, key="policy_entropy", key_hash="", statistic="policy_entropy",
        family="policy entropy", place=place, labels={}, unit="nat", dtype="f32", about={},
    )  # fmt: skip


def transition_of(kind: str = "fired", **detail: Any) -> Transition:
    return Transition(
        run_id="run-1", rule="policy-entropy-collapse", series_id=1, episode=1, kind=kind, severity="critical",
        step=1412, since_step=1380, at=1792000000.0, created_at=1792000000.0, detail=detail,
    )  # fmt: skip


def text_of(payload: Any) -> str:
    return json.dumps(payload, ensure_ascii=False)


def test_a_firing_says_what_where_since_when_against_what_and_what_to_try(transition):
    payload = blocks(message_of(transition(), run_of(), series_of(), "http://foreshock.test"))
    check_slack(payload)
    shown = text_of(payload)
    for words in (
        "🔴 Policy entropy is collapsing", "grpo-math / brisk-otter", "model.layers.3", "412 (since 380)", "0.31 nat",
        "0.82 nat (now 38 % of it)", "0.205 nat", "below 20 % of the baseline in 120 to 240 steps", "The policy commits to a few tokens.",
        "• Raise the upper clip to 0.28. _(DAPO, arXiv:2503.14476)_",
        "• Resume from before the fall. _(inference: measured here)_", "<http://foreshock.test/runs/run-1|Open the run>",
    ):  # fmt: skip
        assert words in shown, words


def test_a_lock_screen_shows_what_which_run_and_how_bad(transition):
    assert blocks(message_of(transition(), run_of(), series_of(), "http://f.test"))["text"] == (
        "🔴 Policy entropy is collapsing · grpo-math / brisk-otter: "
        "Policy entropy is collapsing since step 380: 0.31 nat, 38 % of baseline."
    )


def test_fired_escalated_and_resolved_differ_in_sign_word_and_colour(transition):
    looks = set()
    for kind in ("fired", "escalated", "resolved"):
        payload = blocks(message_of(transition(kind), run_of(), series_of(), "http://f.test"))
        looks.add((payload["blocks"][0]["text"]["text"], payload["attachments"][0]["color"]))
        check_slack(payload)
    assert len(looks) == 3
    assert ("🟢 Resolved: Policy entropy is collapsing", "#1a7f37") in looks


def test_text_of_users_can_neither_mention_nor_link_nor_break_out():
    message = message_of(
        transition_of(title="<!channel> & <@U1>", message="<http://evil.test|click> & co"),
        run_of("<!here>", "a&b"),
        series_of("x<y>"),
        "http://f.test",
    )
    for attachment in blocks(message)["attachments"]:
        shown = text_of(attachment)
        for bad in ("<!channel>", "<@U1>", "<http://evil.test", "<!here>", "x<y>"):
            assert bad not in shown
        assert "&lt;!here&gt;" in shown
        assert "a&amp;b" in shown
    assert "<" not in blocks(message)["text"]


def test_an_entity_is_never_cut_in_half():
    for limit in range(1, 30):
        cut = escape("a<b&c>d" * 3, limit)
        assert len(cut) <= limit
        assert cut.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").count("&") == 0


def test_a_warning_shows_its_own_level_and_further_places_are_counted(transition):
    fired = transition()
    fired.severity = "warning"
    fired.detail = {**fired.detail, "warn_level": 0.5, "also_at": 3}
    shown = text_of(blocks(message_of(fired, run_of(), series_of(), "http://f.test")))
    assert "*Threshold*\\n0.5 nat" in shown
    assert "*Place*\\nmodel.layers.3 and 3 more" in shown
    assert "🟠" in shown


def test_what_is_cut_says_so():
    assert escape("x" * 10, 5) == "xxxx…"
    assert clip("one\n two   three", 9) == "one two …"
    assert clip("one two", 9) == "one two"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.31, "0.31 nat"),
        (1 / 3, "0.3333 nat"),
        ("NaN", "NaN nat"),
        ("-Infinity", "-Infinity nat"),
        (1e-9, "1e-09 nat"),
        (None, "–"),
    ],
)
def test_a_number_is_shown_as_people_read_it(value, shown):
    assert show(value, "nat" if value is not None else None) == shown


def test_a_transition_without_any_detail_still_makes_a_message():
    payload = blocks(message_of(transition_of(), None, None, "http://f.test"))
    check_slack(payload)
    assert "Policy entropy collapse" in payload["text"]


def test_a_test_message_cannot_be_taken_for_an_alert():
    payload = blocks(trial_message("ops <room>", "http://f.test", 1792000000.0))
    check_slack(payload)
    assert "🔵 Test message" in text_of(payload)
    assert "No run is in trouble" in text_of(payload)


words = st.text(max_size=4000)
anything = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    words,
    st.lists(words, max_size=3),
    st.dictionaries(words, words, max_size=3),
)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(
    name=words,
    place=words,
    detail=st.fixed_dictionaries(
        {},
        optional={
            "title": anything, "message": anything, "value": anything, "baseline": anything, "threshold": anything,
            "forecast": st.one_of(anything, st.fixed_dictionaries({"low_steps": anything, "high_steps": anything})),
            "runbook": st.one_of(
                anything,
                st.fixed_dictionaries(
                    {"meaning": anything, "check": anything, "try": st.one_of(anything, st.lists(st.fixed_dictionaries({"text": words, "source": anything}), max_size=6))}
                ),
            ),
        },
    ),
)  # fmt: skip
def test_no_row_makes_a_payload_that_slack_refuses(name, place, detail):
    message = message_of(transition_of(**detail), run_of(name), series_of(place), "http://f.test")
    check_slack(blocks(message))
    json.dumps(message.payload(), allow_nan=False)
