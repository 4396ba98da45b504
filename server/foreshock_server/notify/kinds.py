"""A channel's row <-> the Channel that sends: which kinds exist, what their configuration must say, what of it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from foreshock_server import models
from foreshock_server.db import Database
from foreshock_server.errors import Invalid
from foreshock_server.notify.channel import Channel, NotDelivered
from foreshock_server.notify.post import DEADLINE
from foreshock_server.notify.slack import Slack
from foreshock_server.notify.webhook import Webhook, key_of, new_secret
from foreshock_server.settings import Settings
from foreshock_server.store.channels import Wanted, sync_settings

KINDS = ("slack", "webhook")


def open_channel(row: models.Channel, deadline: float = DEADLINE) -> Channel:
    """The channel that this row describes."""
    config = row.config
    if row.kind == "slack":
        return Slack(config["url"], deadline)
    if row.kind == "webhook":
        return Webhook(config["url"], config["secret"], deadline)
    raise NotDelivered(f"this server knows no channel kind {row.kind!r}", permanent=True)


def checked_config(kind: str, url: str, secret: str | None) -> dict[str, Any]:
    """The configuration to store; Invalid says what to write instead."""
    if kind == "slack":
        if secret is not None:
            raise Invalid("A slack channel has no secret of its own: its url is the secret.", field="secret")
        return {"url": checked_url(url)}
    if kind == "webhook":
        if secret is not None:
            key_of(secret)
        return {"url": checked_url(url), "secret": secret or new_secret()}
    raise Invalid(f"There is no channel kind {kind!r}; write one of: {', '.join(KINDS)}.", field="kind")


def checked_url(url: str) -> str:
    """The URL, if it is one that a message can be posted to."""
    try:
        parsed = parse_url(url)
        port_is_one = urlsplit(url).port != 0  # raises for one that is no port
        (parsed.host or "").encode("idna")  # raises for one that no name server can be asked for
    except (LocationParseError, ValueError):
        parsed, port_is_one = None, False
    if parsed is None or parsed.scheme not in ("http", "https") or not parsed.host or not port_is_one:
        raise Invalid(
            "The url must be an http:// or https:// address with a host, such as https://hooks.slack.com/services/…",
            field="url",
        )
    if parsed.auth:
        raise Invalid(
            "Leave user and password out of the url; messages are signed instead (header webhook-signature).",
            field="url",
        )
    return url


def masked_url(url: str) -> str:
    """Enough to recognise an address, too little to use it: its path is a secret at Slack and elsewhere."""
    parsed = urlsplit(url)
    rest = url.split(parsed.netloc, 1)[1].strip("/")
    return f"{parsed.scheme}://{parsed.netloc}/…{rest[-4:] if len(rest) > 8 else ''}"


def shown_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader of the API may see."""
    return {"url": masked_url(config["url"]), "signed": "secret" in config}


def sync_channels(database: Database, settings: Settings, now: float) -> None:
    """At start: make the channels that the settings name, disable those that they no longer name."""
    wanted = []
    if settings.slack_webhook_url is not None:
        url = settings.slack_webhook_url.get_secret_value()
        wanted.append(Wanted("slack", _from_settings("slack", url, None)))
    if settings.webhook_url is not None:
        secret = settings.webhook_secret.get_secret_value() if settings.webhook_secret else None
        config = _from_settings("webhook", settings.webhook_url, secret)
        if secret is None:  # made once, kept in the row: a receiver that does not verify needs no setting
            wanted.append(Wanted("webhook", {"url": config["url"]}, {"secret": config["secret"]}))
        else:
            wanted.append(Wanted("webhook", config))
    with database.writing() as session:
        sync_settings(session, wanted, now)


def _from_settings(kind: str, url: str, secret: str | None) -> dict[str, Any]:
    try:
        return checked_config(kind, url, secret)
    except Invalid as error:
        field = "SLACK_WEBHOOK_URL" if kind == "slack" else f"WEBHOOK_{str(error.extra['field']).upper()}"
        raise Invalid(f"FORESHOCK_{field}: {error}", field=field) from error
