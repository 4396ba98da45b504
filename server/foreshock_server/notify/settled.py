"""The server's settings -> the channels that they name, at every start."""

from __future__ import annotations

from typing import Any

from foreshock_server.db import Database
from foreshock_server.errors import Invalid
from foreshock_server.notify.kinds import checked_config
from foreshock_server.settings import Settings
from foreshock_server.store.channels import Wanted, sync_settings


def sync_channels(database: Database, settings: Settings, now: float) -> None:
    """Make the channels that the settings name, disable those that they no longer name."""
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
