"""Each kind that speaks HTTP: what arrives at a real receiver, within what its service publishes, whatever the rows hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.server.notify import limits

from foreshock_server.errors import Invalid
from foreshock_server.models import Channel, Run, Series, Transition
from foreshock_server.notify.channel import NotDelivered
from foreshock_server.notify.digest import digest_of
from foreshock_server.notify.discord import embed
from foreshock_server.notify.kinds import KINDS, checked_config, open_channel, shown_config
from foreshock_server.notify.message import Message, message_of, trial_message
from foreshock_server.notify.ntfy import publication
from foreshock_server.notify.pagerduty import event
from foreshock_server.notify.reach import Way
from foreshock_server.notify.teams import card

KEY = "0123456789abcdefABCDEF0123456789"
OVER_HTTP = ["slack", "webhook", "discord", "teams", "pagerduty", "ntfy"]
SECRETS = {"pagerduty": KEY, "ntfy": "tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2", "webhook": "whsec_" + "A" * 32}


def channel(kind: str, url: str, way: Way) -> Any:
    config = checked_config(kind, url, SECRETS.get(kind))
    return open_channel(
        Channel(id="c", name="c", kind=kind, config=config, enabled=True, origin="api", created_at=0.0), way
    )


def message(transition: Transition, **changes: Any) -> Message:
    run = Run(id="run-1", project="grpo-math", name="brisk-otter", config={}, state="running", created_at=0.0)
    transition.detail = {**transition.detail, **changes}
    return message_of(transition, run, None, "http://foreshock.test")


@pytest.mark.parametrize("kind", OVER_HTTP)
def test_each_kind_is_received_with_its_id_and_what_the_receiver_said_is_known(
    kind, receive, transition, local
):
    receiver = receive()
    answer = channel(kind, receiver.url, local()).send(message(transition()), "msg-1")
    assert (answer.status, answer.said) == (200, "ok")
    [got] = receiver.received
    assert got.id == "msg-1"
    assert got.headers["content-type"].startswith("application/json")
    assert "Policy entropy is collapsing" in json.dumps(got.json())


@pytest.mark.parametrize("kind", OVER_HTTP)
@pytest.mark.parametrize(("status", "refused"), [(400, True), (404, True), (429, False), (503, False)])
def test_each_kind_tells_a_refusal_from_a_bad_moment_and_names_no_secret(
    kind, status, refused, receive, answer, transition, local
):
    echo = f"no such hook /hook/abcdefgh1234 for {SECRETS.get(kind, 'you')}".encode()
    receiver = receive(answer(status, {"Retry-After": "2.5"}, echo))
    with pytest.raises(NotDelivered) as caught:
        channel(kind, receiver.url, local()).send(message(transition()), "msg-1")
    problem = caught.value
    assert (problem.refused, problem.permanent, problem.retry_after) == (refused, False, 2.5)
    assert problem.answer.status == status
    for words in (str(problem), problem.answer.said):
        assert "no such hook" in words
        assert "abcdefgh1234" not in words
        assert kind not in SECRETS or SECRETS[kind] not in words


def test_discord_waits_for_the_message_and_keeps_what_else_the_address_asks(receive, transition, local):
    receiver = receive()
    channel("discord", receiver.url + "?thread_id=7", local()).send(message(transition()), "msg-1")
    [got] = receiver.received
    assert got.path == "/hook/abcdefgh1234?thread_id=7&wait=true"
    limits.check_discord(got.json())
    [drawn] = got.json()["embeds"]
    assert drawn["title"] == "🔴 Policy entropy is collapsing"
    assert {"name": "Baseline", "value": "0.82 nat (now 38 % of it)".replace("(", "\\(").replace(")", "\\)"), "inline": True} in drawn["fields"]  # fmt: skip


def test_nobody_is_mentioned_and_nothing_formatted_in_discord(transition):
    told = embed(message(transition(), title="@everyone **x** <@1> [a](http://b)", message="`c` ~~d~~ ||e||"))
    limits.check_discord(told)
    [drawn] = told["embeds"]
    assert drawn["title"] == "🔴 \\@everyone \\*\\*x\\*\\* \\<\\@1\\> \\[a\\]\\(http\\://b\\)"
    assert drawn["description"] == "\\`c\\` \\~\\~d\\~\\~ \\|\\|e\\|\\|"


def test_teams_gets_a_card_in_utf8_that_says_so(receive, transition, local):
    receiver = receive()
    channel("teams", receiver.url + "?sig=abcdefghijklmnop", local()).send(message(transition()), "msg-1")
    [got] = receiver.received
    assert got.headers["content-type"] == "application/json; charset=utf-8"
    limits.check_teams(got.json())
    shown = json.dumps(got.json(), ensure_ascii=False)
    for words in (
        "Policy entropy is collapsing",
        "0.82 nat (now 38 % of it)",
        "Raise the upper clip to 0.28.",
        "DAPO",
    ):
        assert words in shown
    assert "Raise the upper clip" not in json.dumps(card(message(transition("resolved"))))


def test_pagerduty_opens_one_incident_and_closes_the_same(receive, transition, local):
    receiver = receive()
    pager = channel("pagerduty", receiver.url, local())
    for kind in ("fired", "escalated", "resolved"):
        pager.send(message(transition(kind)), f"msg-{kind}")
    events = [got.json() for got in receiver.received]
    for one in events:
        limits.check_pagerduty(one)
    assert [one["event_action"] for one in events] == ["trigger", "trigger", "resolve"]
    assert len({one["dedup_key"] for one in events}) == 1
    assert events[0]["payload"]["severity"] == "critical"
    assert events[0]["payload"]["summary"].startswith(
        "Policy entropy is collapsing · grpo-math / brisk-otter: "
    )
    assert event(message(transition(rule="another")), KEY)["dedup_key"] != events[0]["dedup_key"]


def test_a_test_of_pagerduty_leaves_no_incident_open(receive, local):
    receiver = receive()
    pager = channel("pagerduty", receiver.url, local())
    for now in (1792000000.0, 1792000001.0):
        pager.send(trial_message("ops", "http://f.test", now), "test-1")
    opened, closed, again, _ = (got.json() for got in receiver.received)
    assert (opened["event_action"], opened["payload"]["severity"]) == ("trigger", "info")
    assert (closed["event_action"], closed["dedup_key"]) == ("resolve", opened["dedup_key"])
    assert again["dedup_key"] != opened["dedup_key"]


def test_a_digest_is_an_event_for_each_of_its_messages_so_that_all_can_be_closed(receive, transition, local):
    receiver = receive()
    digest = digest_of([message(transition()), message(transition("resolved"))], "http://f.test")
    channel("pagerduty", receiver.url, local()).send(digest, "msg-1")
    assert [got.json()["event_action"] for got in receiver.received] == ["trigger", "resolve"]
    assert len({got.json()["dedup_key"] for got in receiver.received}) == 1


def test_ntfy_is_published_at_the_root_with_the_token(receive, transition, local):
    receiver = receive()
    base = receiver.url.split("/hook")[0]
    channel("ntfy", f"{base}/inside/my-topic", local()).send(message(transition()), "msg-1")
    [got] = receiver.received
    assert got.path == "/inside/"
    assert got.headers["authorization"] == f"Bearer {SECRETS['ntfy']}"
    told = got.json()
    limits.check_ntfy(told)
    assert (told["topic"], told["priority"], told["tags"]) == ("my-topic", 5, ["red_circle"])
    assert told["click"] == "http://foreshock.test/runs/run-1"
    assert publication(message(transition("resolved")), "t")["priority"] == 3


@pytest.mark.parametrize(
    ("kind", "url", "secret", "field"),
    [
        ("discord", "discord.com/api/webhooks/1/x", None, "url"),
        ("discord", "https://discord.com/api/webhooks/1/x", "s", "secret"),
        ("teams", None, None, "url"),
        ("pagerduty", None, None, "secret"),
        ("pagerduty", None, "too-short", "secret"),
        ("ntfy", "https://ntfy.sh/", None, "url"),
        ("ntfy", "https://ntfy.sh/a topic", None, "url"),
        ("ntfy", "https://ntfy.sh/topic?x=1", None, "url"),
        ("ntfy", "https://ntfy.sh/topic", "password\r\nX: y", "secret"),
        ("apprise", "no address", None, "url"),
        ("apprise", "dbus://", None, "url"),
        ("apprise", "syslog://localhost", None, "url"),
        ("smoke", "https://example.org", None, "kind"),
    ],
)
def test_what_is_missing_or_wrong_is_named(kind, url, secret, field):
    with pytest.raises(Invalid) as caught:
        checked_config(kind, url, secret)
    assert caught.value.extra["field"] == field


def test_pagerduty_needs_no_address():
    assert checked_config("pagerduty", None, KEY) == {
        "url": "https://events.pagerduty.com/v2/enqueue",
        "secret": KEY,
    }


def test_no_kind_shows_its_secret():
    urls = {
        "email": "smtps://me@mail.example.org?from=a@example.org&to=b@example.org",
        "apprise": "tgram://123456789:AbCdEfGhIj/1234567890",
        "pagerduty": "https://events.pagerduty.com/v2/enqueue",
    }
    for kind in KINDS:
        url = urls.get(kind, "https://example.org/hook/abcdefgh1234?sig=hunter2hunter2")
        shown = str(shown_config(kind, {"url": url, "secret": "hunter2hunter2"}))
        for secret in ("hunter2hunter2", "AbCdEfGhIj", "abcdefgh"):
            assert secret not in shown, kind


words = st.text(max_size=4000)
anything = st.one_of(st.none(), st.integers(), st.floats(), words, st.lists(words, max_size=3))


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(
    kind=st.sampled_from(["fired", "escalated", "resolved"]),
    name=words,
    place=words,
    detail=st.fixed_dictionaries(
        {},
        optional={
            "title": anything, "message": anything, "value": anything, "baseline": anything, "threshold": anything,
            "runbook": st.fixed_dictionaries(
                {"meaning": anything, "check": anything, "try": st.lists(st.fixed_dictionaries({"text": words, "source": anything}), max_size=6)}
            ),
        },
    ),
)  # fmt: skip
def test_no_row_makes_a_message_that_a_service_refuses(kind, name, place, detail):
    run = Run(id="run-1", project=name, name=name, config={}, state="running", created_at=0.0)
    series = Series(
        run_id="run-1", series_id=1, key=place or "k", key_hash="", statistic=place or "s",
        family="policy entropy", place=place, labels={}, unit="nat", dtype="f32", about={},
    )  # fmt: skip
    transition = Transition(
        run_id="run-1", rule="policy-entropy-collapse", series_id=1, episode=1, kind=kind, severity="critical",
        step=1412, since_step=1380, at=1792000000.0, created_at=1792000000.0, detail=detail,
    )  # fmt: skip
    told = message_of(transition, run, series, "http://f.test")
    limits.check_discord(embed(told))
    limits.check_teams(card(told))
    limits.check_pagerduty(event(told, KEY))
    limits.check_ntfy(publication(told, "topic"))


def test_text_as_long_and_as_wide_as_can_be_fits(transition):
    told = message(transition(), title="🔥" * 9000, message="火" * 9000, runbook={"meaning": "𝕏" * 9000, "try": ["é" * 9000] * 9})  # fmt: skip
    limits.check_discord(embed(told))
    limits.check_teams(card(told))
    limits.check_pagerduty(event(told, KEY))
    limits.check_ntfy(publication(told, "topic"))
