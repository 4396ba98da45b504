"""A Slack channel that posts as a bot: one message per incident in the channel, what follows in its thread, its colour up to date."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.server.notify.limits import check_slack

from foreshock_server.bus import LocalBus
from foreshock_server.errors import Invalid
from foreshock_server.models import Channel, Delivery, Incident
from foreshock_server.notify.channel import NotDelivered
from foreshock_server.notify.kinds import checked_config, open_channel
from foreshock_server.notify.message import message_of
from foreshock_server.notify.worker import Deliverer
from foreshock_server.store import outbox

TOKEN = "xoxb-" + "1234567890-abcdefghij"
API = "https://slack.com/api/chat.postMessage?channel=C0123ABCD"


def says(answer, **told: Any):
    return answer(200, {}, json.dumps(told).encode())


@pytest.fixture
def slack(receive, answer):
    """An API that takes everything and calls the first message 1.000100, the next 2.000100 …; or says first what it is told to."""

    def start(*errors: str):
        posted = [{"ok": True, "channel": "C0123ABCD", "ts": f"{number}.000100", "message": {"text": "x" * 5000}} for number in range(1, 9)]  # fmt: skip
        return receive(
            *[says(answer, ok=False, error=error) for error in errors],
            *[says(answer, **one) for one in posted],
        )

    return start


@pytest.fixture
def send(rows, local, settings, transition):
    """Stores a change of the run's first incident and delivers it as the bot."""
    now = [2000.0]

    def start(receiver, **more: Any):
        url = receiver.url.rpartition("/hook/")[0] + "/api/chat.postMessage?channel=C0123ABCD"
        config = checked_config("slack", url, TOKEN)
        with rows.database.writing() as session:
            session.add(
                Channel(
                    id="bot",
                    name="bot",
                    kind="slack",
                    config=config,
                    enabled=True,
                    origin="api",
                    created_at=0.0,
                )
            )
            session.add(
                Incident(
                    run_id=rows.run_id, number=1, family="policy entropy", state="open", severity="critical", inhibits=False, firing=[],
                    rules=["policy-entropy-collapse"], opened_step=412, opened_at=2000.0, told_at=2000.0, secret="s" * 64,
                )
            )  # fmt: skip
        deliverer = Deliverer(
            rows.database, settings.model_copy(update=more.pop("settings", {})), LocalBus(), clock=lambda: now[0],
            open_channel=lambda row: open_channel(row, local()), **more,
        )  # fmt: skip

        def say(kind: str, *, sent_as: str | None = None) -> Delivery:
            now[0] += 3600
            with rows.database.writing() as session:
                change = session.merge(transition(kind))
                session.flush()
                outbox.put(session, change, session.get_one(Channel, "bot"), now[0], incident=1, kind=sent_as)
            deliverer.run_once()
            with rows.database.reading() as session:
                return session.query(Delivery).order_by(Delivery.created_at.desc()).first()

        return say

    return start


def calls(receiver) -> list[tuple[str, dict[str, Any]]]:
    for got in receiver.received:
        assert got.headers["authorization"] == f"Bearer {TOKEN}"
        check_slack(got.json())
    return [(got.path.rpartition("/")[2], got.json()) for got in receiver.received]


def test_what_follows_goes_into_the_thread_of_the_first_message_which_takes_on_its_colour(slack, send):
    receiver = slack()
    say = send(receiver)
    assert (say("fired").receipt, say("escalated").state) == ("C0123ABCD/1.000100", "delivered")
    assert say("resolved").receipt == "C0123ABCD/4.000100"
    first, escalated, worse, resolved, over = calls(receiver)
    assert [name for name, _ in (first, escalated, worse, resolved, over)] == [
        "chat.postMessage", "chat.postMessage", "chat.update", "chat.postMessage", "chat.update",
    ]  # fmt: skip
    assert first[1]["channel"] == "C0123ABCD"
    assert "thread_ts" not in first[1]
    for _, reply in (escalated, resolved):
        assert (reply["channel"], reply["thread_ts"]) == ("C0123ABCD", "1.000100")
    assert escalated[1]["reply_broadcast"] is True, "nobody wakes up of what is said in a thread"
    assert resolved[1]["reply_broadcast"] is False
    for _, change in (worse, over):
        assert (change["channel"], change["ts"]) == ("C0123ABCD", "1.000100")
    assert over[1]["attachments"][0]["color"] == "#1a7f37"
    assert over[1]["blocks"][0]["text"]["text"] == "🟢 Resolved: Policy entropy is collapsing"
    assert "0.82 nat (now 38 % of it)" in json.dumps(over[1]), "the rest of it stays"
    assert first[1]["attachments"][0]["color"] == "#d1242f"


def test_a_reminder_answers_it_too_and_is_heard(slack, send):
    receiver = slack()
    say = send(receiver)
    say("fired")
    say("fired", sent_as="repeated")
    told = calls(receiver)
    assert (told[1][1]["thread_ts"], told[1][1]["reply_broadcast"]) == ("1.000100", True)
    assert told[2][1]["blocks"][0]["text"]["text"].startswith("🔴 Still: ")


@pytest.mark.parametrize(
    ("error", "refused"),
    [("channel_not_found", True), ("invalid_auth", True), ("internal_error", False), ("ratelimited", False)],
)
def test_what_slack_does_not_do_is_no_delivery_though_it_answers_200(
    slack, error, refused, local, transition
):
    url = slack(error).url.rpartition("/hook/")[0] + "/api/chat.postMessage?channel=C0123ABCD"
    row = Channel(id="bot", name="bot", kind="slack", config=checked_config("slack", url, TOKEN))
    with pytest.raises(NotDelivered, match=f"Slack answered {error}") as caught:
        open_channel(row, local()).send(message_of(transition(), None, None, "http://f.test"), "msg-1")
    assert (caught.value.refused, caught.value.answer.status) == (refused, 200)


def test_a_first_message_that_cannot_be_answered_or_changed_holds_up_nothing(slack, send, receive, answer):
    told = {"ok": True, "channel": "C0123ABCD", "ts": "1.000100"}
    receiver = receive(
        says(answer, **told), says(answer, ok=False, error="thread_not_found"), says(answer, **{**told, "ts": "2.000100"}),
        says(answer, **{**told, "ts": "3.000100"}), says(answer, ok=False, error="message_not_found"),
    )  # fmt: skip
    say = send(receiver)
    say("fired")
    assert say("escalated").receipt == "C0123ABCD/2.000100", "by itself in the channel"
    assert say("resolved").state == "delivered", "although the first one was deleted meanwhile"
    assert [name for name, _ in calls(receiver)[-3:-1]] == ["chat.postMessage", "chat.update"]


def test_a_picture_that_slack_cannot_fetch_is_left_out(slack, send):
    receiver = slack("invalid_blocks")
    say = send(receiver, settings={"public_url": "https://foreshock.example.org"}, picture_of=lambda *_: None)
    assert say("fired").state == "delivered"
    with_it, without = (json.dumps(payload) for _, payload in calls(receiver))
    assert "https://foreshock.example.org/incidents/run-1/1/chart.png?message=" in with_it
    assert "chart.png" not in without


def test_an_answer_that_is_none_of_slacks_is_no_delivery(receive, answer, send):
    delivery = send(receive(answer(200, {}, b"<html>")))("fired")
    assert (delivery.state, delivery.receipt) == ("waiting", None)
    assert "is the url right?" in delivery.error


@pytest.mark.parametrize(
    ("url", "secret", "field", "sentence"),
    [
        ("https://hooks.slack.com/services/T/B/x", TOKEN, "secret", "its url is the secret"),
        (API, None, "secret", "needs as its secret the bot's token, xoxb-"),
        (API, "xoxb-", "secret", "needs as its secret the bot's token, xoxb-"),
        (
            API.split("?")[0],
            TOKEN,
            "url",
            "names one channel by its id: https://slack.com/api/chat.postMessage?channel=C",
        ),
        (API + "&as_user=true", TOKEN, "url", "names one channel"),
        (API + "%0A", TOKEN, "url", "names one channel"),
    ],
)
def test_what_a_bot_lacks_is_named(url, secret, field, sentence):
    with pytest.raises(Invalid, match=re.escape(sentence)) as caught:
        checked_config("slack", url, secret)
    assert caught.value.extra["field"] == field
