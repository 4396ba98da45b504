"""What reaches a receiver over real HTTP, and what each of its answers means."""

from __future__ import annotations

import json
import socket
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from foreshock_server.errors import Invalid
from foreshock_server.notify.channel import Channel, MemoryChannel, NotDelivered
from foreshock_server.notify.message import Message, message_of
from foreshock_server.notify.slack import Slack
from foreshock_server.notify.webhook import Webhook, key_of, new_secret


@pytest.fixture
def message(transition) -> Message:
    return message_of(transition(), None, None, "http://foreshock.test")


def test_an_independent_library_accepts_the_signature(receive, message, secret, local):
    receiver = receive()
    Webhook(receiver.url, secret, local()).send(message, "msg-1")
    [got] = receiver.received
    Verifier(secret).verify(got.body, got.headers)
    assert got.id == "msg-1"
    assert got.headers["content-type"] == "application/json"
    assert got.json()["alert"]["value"] == 0.29


def test_an_independent_library_refuses_a_changed_body_and_another_key(receive, message, secret, local):
    receiver = receive()
    Webhook(receiver.url, secret, local()).send(message, "msg-1")
    [got] = receiver.received
    with pytest.raises(Exception, match=r"[Nn]o matching signature"):
        Verifier(secret).verify(got.body.replace(b"0.29", b"0.92"), got.headers)
    with pytest.raises(Exception, match=r"[Nn]o matching signature"):
        Verifier(new_secret()).verify(got.body, got.headers)


def test_a_secret_that_we_make_is_one_that_libraries_read(receive, message, local):
    receiver, secret = receive(), new_secret()
    Webhook(receiver.url, secret, local()).send(message, "msg-1")
    Verifier(secret).verify(receiver.received[0].body, receiver.received[0].headers)


def test_each_try_carries_its_own_time_and_the_same_id(receive, message, secret, local):
    receiver, times = receive(), iter([time.time() - 200, time.time()])
    channel = Webhook(receiver.url, secret, local(), clock=lambda: next(times))
    channel.send(message, "msg-1")
    channel.send(message, "msg-1")
    first, second = receiver.received
    assert first.id == second.id
    assert first.body == second.body
    assert int(second.headers["webhook-timestamp"]) - int(
        first.headers["webhook-timestamp"]
    ) == pytest.approx(200, abs=1)
    for got in receiver.received:
        Verifier(secret).verify(got.body, got.headers)


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_###", "whsec_" + "A" * 92],
)
def test_a_secret_of_the_wrong_form_says_what_to_write(secret):
    with pytest.raises(Invalid, match=r"whsec_.*24 to 64 random bytes in base64") as caught:
        key_of(secret)
    assert caught.value.extra == {"field": "secret"}


@pytest.mark.parametrize(
    ("status", "fields", "expected"),
    [
        (500, {}, (None, False, False)),
        (503, {"Retry-After": "7"}, (7.0, False, False)),
        (429, {"Retry-After": "30"}, (30.0, False, False)),
        (429, {"Retry-After": "soon"}, (None, False, False)),
        (408, {}, (None, False, False)),
        (400, {}, (None, False, True)),
        (401, {}, (None, False, True)),
        (403, {}, (None, False, True)),
        (404, {}, (None, False, True)),
        (410, {}, (None, True, False)),
    ],
)
@pytest.mark.parametrize("kind", ["slack", "webhook"])
def test_what_an_answer_means(receive, answer, message, secret, kind, status, fields, expected, local):
    receiver = receive(answer(status, fields, b"invalid_payload\n"))
    channel: Channel = (
        Slack(receiver.url, local()) if kind == "slack" else Webhook(receiver.url, secret, local())
    )
    with pytest.raises(NotDelivered, match=f"^127.0.0.1 answered {status}: invalid_payload$") as caught:
        channel.send(message, "msg-1")
    assert (caught.value.retry_after, caught.value.permanent, caught.value.refused) == expected


def test_retry_after_may_be_a_date(receive, answer, message, secret, local):
    receiver = receive(answer(503, {"Retry-After": formatdate(time.time() + 90, usegmt=True)}))
    with pytest.raises(NotDelivered) as caught:
        Webhook(receiver.url, secret, local()).send(message, "msg-1")
    assert caught.value.retry_after == pytest.approx(90, abs=5)


def test_no_redirect_is_followed_and_the_error_says_what_to_do(receive, answer, message, secret, local):
    elsewhere = receive()
    receiver = receive(answer(307, {"Location": elsewhere.url}))
    with pytest.raises(
        NotDelivered, match=r"answered 307, redirecting to 127.0.0.1; give the channel the final address"
    ) as caught:
        Webhook(receiver.url, secret, local()).send(message, "msg-1")
    assert caught.value.refused
    assert elsewhere.received == []


@pytest.mark.parametrize("how", [{"wait": 30.0}, {"drip": 0.05}])
def test_a_receiver_that_stalls_or_drips_is_left_at_the_deadline(
    receive, answer, message, secret, how, local
):
    receiver = receive(answer(**how))
    began = time.monotonic()
    with pytest.raises(NotDelivered, match=r"127.0.0.1 did not answer within 0.4 s") as caught:
        Webhook(receiver.url, secret, local(0.4)).send(message, "msg-1")
    assert time.monotonic() - began < 2.0
    assert not caught.value.permanent


def test_only_the_beginning_of_an_answer_is_read_and_shown(receive, answer, message, secret, local):
    receiver = receive(answer(500, {}, b"<h1>\x1b[31m" + b"no " * 3_000_000))
    with pytest.raises(NotDelivered) as caught:
        Webhook(receiver.url, secret, local()).send(message, "msg-1")
    assert len(str(caught.value)) < 300
    assert "\x1b" not in str(caught.value)


def test_a_receiver_that_is_not_there_or_hangs_up_can_be_tried_again(receive, answer, message, secret, local):
    gone = receive()
    gone.close()
    for url in (gone.url, receive(answer(hang_up=True)).url):
        with pytest.raises(NotDelivered, match=r"^127.0.0.1") as caught:
            Webhook(url, secret, local(2.0)).send(message, "msg-1")
        assert not caught.value.permanent
        assert not caught.value.refused
        assert "abcdefgh1234" not in str(caught.value)  # the path of a hook is its secret


def test_https_is_spoken_and_the_certificate_must_be_trusted(receive, message, secret, monkeypatch, local):
    receiver = receive(tls=True)
    with pytest.raises(NotDelivered, match=r"localhost: .*certificate verify failed"):
        Webhook(receiver.url, secret, local()).send(message, "msg-1")
    assert receiver.received == []
    monkeypatch.setenv("SSL_CERT_FILE", str(Path(__file__).with_name("localhost.pem")))
    Webhook(receiver.url, secret, local()).send(message, "msg-1")
    assert receiver.received[0].headers["host"] == receiver.url.split("/")[2]
    with pytest.raises(NotDelivered, match=r"127.0.0.1: .*IP address mismatch"):
        Webhook(receiver.url.replace("localhost", "127.0.0.1"), secret, local()).send(message, "msg-1")


def test_a_handshake_that_never_ends_is_left_at_the_deadline(message, secret, local):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(NotDelivered, match=r"did not answer within 0.3 s"):
            Webhook(f"https://127.0.0.1:{silent.getsockname()[1]}/", secret, local(0.3)).send(
                message, "msg-1"
            )
        assert time.monotonic() - began < 2.0


def test_slack_gets_utf8_json(receive, message, local):
    receiver = receive()
    Slack(receiver.url, local()).send(message, "msg-1")
    [got] = receiver.received
    assert got.json()["blocks"][0]["text"]["text"].startswith("🔴 Policy entropy is collapsing")
    assert json.loads(got.body.decode("utf-8")) == got.json()


def test_the_memory_channel_behaves_like_a_receiver(message):
    channel = MemoryChannel(NotDelivered(retry_after=3.0))
    with pytest.raises(NotDelivered):
        channel.send(message, "msg-1")
    channel.send(message, "msg-1")
    assert channel.tried == ["msg-1", "msg-1"]
    assert channel.sent == [("msg-1", message)]
