"""Channels and deliveries over the API: what can be asked, what is refused with which sentence, what is never shown."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook as Verifier

from foreshock_server.app import create_app
from foreshock_server.bus import LocalBus
from foreshock_server.db import Database
from foreshock_server.errors import Invalid
from foreshock_server.notify.kinds import KINDS, checked_url, masked_url
from foreshock_server.notify.settled import sync_channels
from foreshock_server.notify.worker import Deliverer
from foreshock_server.settings import Settings
from foreshock_server.store.channels import get_channel

HOOK = "https://hooks.slack.com/services/T0000/B0000/abcdefghijklWXYZ"


@pytest.fixture
def api(database: Database, settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), base_url="http://127.0.0.1:8642/api/v1/") as client:
        yield client


def post(api: TestClient, **fields: Any) -> Any:
    return api.post(
        "channels", json={"name": "ops", "kind": "webhook", "url": "https://example.org/hook", **fields}
    )


def test_a_channel_is_made_changed_and_deleted(api):
    made = post(api, kind="slack", url=HOOK, project="grpo-math")
    assert made.status_code == 201
    channel = made.json()
    assert channel["config"] == {"url": "https://hooks.slack.com/…WXYZ", "signed": False}
    assert (channel["project"], channel["enabled"], channel["origin"]) == ("grpo-math", True, "api")
    where = f"channels/{channel['id']}"
    assert api.get(where).json() == channel
    changed = api.patch(where, json={"enabled": False, "project": None, "url": HOOK + "9"})
    assert changed.status_code == 200
    assert changed.json() == {
        **channel, "enabled": False, "project": None, "config": {"url": "https://hooks.slack.com/…XYZ9", "signed": False}
    }  # fmt: skip
    assert api.get("channels").json() == {"channels": [changed.json()]}
    assert api.delete(where).status_code == 204
    assert api.get(where).status_code == 404
    assert api.get(where).json()["error"] == "UnknownChannel"


def test_a_secret_that_the_server_made_is_shown_once_and_signs(api, receive):
    receiver = receive()
    made = post(api, url=receiver.url).json()
    assert api.post(f"channels/{made['id']}/test").json()["delivered"] is True
    [got] = receiver.received
    Verifier(made["secret"]).verify(got.body, got.headers)
    assert got.json()["type"] == "channel.test"
    assert made["secret"] not in api.get("channels").text
    assert "secret" not in api.get(f"channels/{made['id']}").json()


def test_no_answer_ever_shows_a_secret_that_came_from_outside(api, secret):
    made = post(api, url="https://example.org/hook/abcdefgh1234", secret=secret)
    where = f"channels/{made.json()['id']}"
    answers = [
        made,
        api.get(where),
        api.get("channels"),
        api.patch(where, json={"secret": secret, "name": "ops 2"}),
    ]
    for answer in answers:
        assert answer.is_success
        assert secret not in answer.text
        assert "abcdefgh" not in answer.text
    assert answers[0].json()["config"] == {"url": "https://example.org/…1234", "signed": True}


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        ({"url": "hooks.slack.com/x"}, "url", "must be an http:// or https:// address with a host"),
        ({"url": "ftp://example.org"}, "url", "must be an http:// or https:// address with a host"),
        ({"url": "https://"}, "url", "must be an http:// or https:// address with a host"),
        ({"url": "https://example.org:99999/"}, "url", "must be an http:// or https:// address with a host"),
        ({"url": "https://example..org/"}, "url", "must be an http:// or https:// address with a host"),
        ({"url": "https://me:pw@example.org/"}, "url", "Leave user and password out of the url"),
        ({"kind": "pigeon"}, "kind", f"There is no channel kind 'pigeon'; write one of: {', '.join(KINDS)}."),
        ({"secret": "hunter2"}, "secret", "must be `whsec_` followed by 24 to 64 random bytes in base64"),
        ({"kind": "slack", "secret": "whsec_x"}, "secret", "its url is the secret"),
        ({"name": "settings: slack"}, "name", "choose another"),
    ],
)
def test_a_wrong_field_is_named_with_what_to_write_instead(api, fields, field, sentence):
    answer = post(api, **fields)
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert sentence in answer.json()["detail"]
    assert api.get("channels").json() == {"channels": []}


def test_names_are_unique(api):
    first, second = post(api).json(), post(api, name="dev").json()
    assert "names are unique" in post(api).json()["detail"]
    assert "names are unique" in api.patch(f"channels/{second['id']}", json={"name": "ops"}).json()["detail"]
    assert api.patch(f"channels/{first['id']}", json={"name": "ops"}).status_code == 200  # its own


def test_null_is_not_a_url(api):
    where = f"channels/{post(api).json()['id']}"
    answer = api.patch(where, json={"url": None})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "`url` cannot be null; leave it out to keep it."


def test_a_misspelt_field_is_refused_rather_than_ignored(api):
    assert post(api, projct="x").status_code == 422
    assert api.patch(f"channels/{post(api).json()['id']}", json={"enable": False}).status_code == 422


def test_a_test_message_that_does_not_arrive_says_why(api, receive, answer):
    receiver = receive(answer(403, {}, b"invalid_token"))
    made = post(api, kind="slack", url=receiver.url).json()
    outcome = api.post(f"channels/{made['id']}/test").json()
    assert outcome["delivered"] is False
    assert outcome["detail"] == "127.0.0.1 answered 403: invalid_token"
    assert outcome["seconds"] < 5.0
    assert api.post("channels/nobody/test").status_code == 404


def test_deliveries_are_listed_with_their_history_and_counted(api, rows, receive, answer, database, settings):
    good, bad = receive(), receive(answer(500))
    rows.channel(good.url)
    rows.channel(bad.url)
    rows.fire(now=time.time())
    worker = Deliverer(database, settings, LocalBus())
    worker.run_once()
    worker.close()
    answered = api.get("deliveries", params={"run": "run-1"}).json()
    assert answered["counts"] == {"waiting": 1, "delivered": 1, "failed": 0, "tries": 2}
    by_channel = {each["channel"]["id"]: each for each in answered["deliveries"]}
    fine, waiting = by_channel["channel-1"], by_channel["channel-2"]
    assert (fine["state"], fine["kind"], fine["series"], fine["step"]) == (
        "delivered",
        "fired",
        "policy_entropy",
        412,
    )
    assert fine["id"] == good.received[0].id
    assert fine["delivered_at"] >= fine["created_at"]
    assert fine["next_at"] is None
    assert (waiting["state"], waiting["tries"], waiting["error"]) == (
        "waiting",
        1,
        "127.0.0.1 answered 500: ok",
    )
    assert waiting["next_at"] > waiting["created_at"]
    assert [each["id"] for each in api.get("deliveries?state=waiting").json()["deliveries"]] == [
        waiting["id"]
    ]
    assert len(api.get("deliveries?limit=1").json()["deliveries"]) == 1
    assert api.get("deliveries?run=another").json()["counts"]["tries"] == 0
    assert api.get("deliveries?limit=0").json()["detail"] == "`limit` must be between 1 and 1000."
    assert api.get("deliveries?state=lost").status_code == 422


def channels_after(database: Database, settings: Settings, api: TestClient, **changes: Any) -> dict[str, Any]:
    sync_channels(database, settings.model_copy(update=changes), time.time())
    return {channel["id"]: channel for channel in api.get("channels").json()["channels"]}


def test_channels_of_the_settings_keep_their_ids_and_end_with_the_setting(database, settings, api):
    slack = {"slack_webhook_url": SecretStr(HOOK)}
    first = channels_after(database, settings, api, **slack)
    assert first["settings-slack"]["origin"] == "settings"
    assert first["settings-slack"]["enabled"] is True
    assert HOOK not in str(first)
    assert channels_after(database, settings, api, **slack) == first
    moved = channels_after(database, settings, api, slack_webhook_url=SecretStr(HOOK + "9"))
    assert moved["settings-slack"]["config"]["url"].endswith("XYZ9")
    assert channels_after(database, settings, api)["settings-slack"]["enabled"] is False
    assert channels_after(database, settings, api, **slack) == first


def test_a_webhook_of_the_settings_without_a_secret_is_signed_with_one_that_stays(
    database, settings, api, receive
):
    receiver = receive()
    for _ in range(2):
        channels_after(database, settings, api, webhook_url=receiver.url)
    with database.reading() as session:
        kept = get_channel(session, "settings-webhook").config["secret"]
    assert api.post("channels/settings-webhook/test").json()["delivered"] is True
    Verifier(kept).verify(receiver.received[0].body, receiver.received[0].headers)


def test_the_secret_of_the_settings_is_the_one_that_signs(database, settings, api, receive, secret):
    receiver = receive()
    channels_after(database, settings, api, webhook_url=receiver.url)
    channels_after(database, settings, api, webhook_url=receiver.url, webhook_secret=SecretStr(secret))
    api.post("channels/settings-webhook/test")
    Verifier(secret).verify(receiver.received[0].body, receiver.received[0].headers)


def test_channels_of_the_settings_are_changed_in_the_settings(database, settings, api):
    channels_after(database, settings, api, webhook_url="https://example.org/hook")
    for answer in (
        api.patch("channels/settings-webhook", json={"enabled": False}),
        api.delete("channels/settings-webhook"),
    ):
        assert answer.status_code == 422
        assert "FORESHOCK_WEBHOOK_URL" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"slack_webhook_url": SecretStr("nonsense")}, "FORESHOCK_SLACK_WEBHOOK_URL: The url must be"),
        ({"webhook_url": "nonsense"}, "FORESHOCK_WEBHOOK_URL: The url must be"),
        (
            {"webhook_url": "http://a.test", "webhook_secret": SecretStr("x")},
            "FORESHOCK_WEBHOOK_SECRET: The signing secret",
        ),
    ],
)
def test_a_wrong_setting_is_named(database, settings, changes, sentence):
    with pytest.raises(Invalid, match=sentence):
        sync_channels(database, settings.model_copy(update=changes), time.time())


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/x", "https://[::1]:8443/h", "https://example.org", "HTTPS://EXAMPLE.org/?a=b"]
)
def test_addresses_of_every_common_form_are_taken_and_masked(url):
    assert checked_url(url) == url
    shown = masked_url(url)
    assert shown.lower().startswith(("http://", "https://"))
    assert "?" not in shown
