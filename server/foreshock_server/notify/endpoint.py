"""Channels and deliveries over HTTP. Secrets go in and are never read back; one we made is shown once, when we made it."""

from __future__ import annotations

import time
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from foreshock_server import models
from foreshock_server.deps import Reading, Writing
from foreshock_server.errors import Invalid
from foreshock_server.notify.channel import NotDelivered
from foreshock_server.notify.kinds import checked_config, checked_url, open_channel, shown_config
from foreshock_server.notify.message import iso, trial_message
from foreshock_server.notify.webhook import key_of
from foreshock_server.store import channels, outbox

router = APIRouter(tags=["notify"])

TEST_DEADLINE = 5.0  # seconds that somebody who pressed the button waits at most


class NewChannel(BaseModel):
    """A channel as a person describes it."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    kind: str
    url: str = Field(max_length=2000)
    secret: str | None = Field(
        None, description="webhook: whsec_… to sign with; made by the server when left out"
    )
    project: str | None = Field(None, max_length=200, description="only this project's runs; left out: all")
    enabled: bool = True


class ChannelChange(BaseModel):
    """What to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, min_length=1, max_length=100)
    url: str | None = Field(None, max_length=2000)
    secret: str | None = None
    project: str | None = Field(None, max_length=200)
    enabled: bool | None = None


@router.get("/channels")
def list_channels(session: Reading) -> dict[str, Any]:
    """Every channel, masked."""
    return {"channels": [_shown(channel) for channel in channels.list_channels(session)]}


@router.post("/channels", status_code=201)
def create_channel(wish: NewChannel, session: Writing) -> dict[str, Any]:
    """The new channel; `secret` is there when the server made it, and only in this answer."""
    config = checked_config(wish.kind, wish.url, wish.secret)
    channel = channels.create_channel(
        session,
        name=wish.name,
        kind=wish.kind,
        config=config,
        project=wish.project,
        enabled=wish.enabled,
        now=time.time(),
    )
    shown = _shown(channel)
    if wish.secret is None and "secret" in config:
        shown["secret"] = config["secret"]
    return shown


@router.get("/channels/{channel_id}")
def get_channel(channel_id: str, session: Reading) -> dict[str, Any]:
    """One channel, masked."""
    return _shown(channels.get_channel(session, channel_id))


@router.patch("/channels/{channel_id}")
def change_channel(channel_id: str, change: ChannelChange, session: Writing) -> dict[str, Any]:
    """The channel as it is now."""
    named = change.model_dump(exclude_unset=True)
    for required in ("name", "url", "enabled", "secret"):
        if required in named and named[required] is None:
            raise Invalid(f"`{required}` cannot be null; leave it out to keep it.", field=required)
    config = dict(channels.get_channel(session, channel_id).config)
    if "url" in named:
        config["url"] = checked_url(named.pop("url"))
    if "secret" in named:
        if "secret" not in config:
            raise Invalid("A slack channel has no secret of its own: its url is the secret.", field="secret")
        key_of(named["secret"])
        config["secret"] = named.pop("secret")
    return _shown(channels.change_channel(session, channel_id, config=config, **named))


@router.delete("/channels/{channel_id}", status_code=204)
def delete_channel(channel_id: str, session: Writing) -> None:
    """Forget the channel."""
    channels.delete_channel(session, channel_id)


@router.post("/channels/{channel_id}/test")
def test_channel(channel_id: str, request: Request) -> dict[str, Any]:
    """Send a test message now, and say what happened: {delivered, detail, seconds}. No transaction is open meanwhile."""
    with request.app.state.database.reading() as session:
        channel = channels.get_channel(session, channel_id)
    began = time.monotonic()
    now = time.time()
    message = trial_message(channel.name, request.app.state.settings.page_url, now)
    detail = "The receiver took it."
    try:
        open_channel(channel, TEST_DEADLINE).send(message, f"test-{channel.id}-{int(now * 1000)}")
        delivered = True
    except NotDelivered as problem:
        delivered, detail = False, str(problem)
    return {"delivered": delivered, "detail": detail, "seconds": round(time.monotonic() - began, 3)}


@router.get("/deliveries")
def list_deliveries(
    session: Reading,
    run: str | None = None,
    state: Literal["waiting", "delivered", "failed"] | None = None,
    limit: int = 100,
) -> dict[str, Any]:
    """The newest deliveries, and how many there are in each state."""
    if not 1 <= limit <= 1000:
        raise Invalid("`limit` must be between 1 and 1000.", field="limit")
    return {
        "counts": dict(outbox.count_deliveries(session, run)),
        "deliveries": [_listed(parcel) for parcel in outbox.list_deliveries(session, run, state, limit)],
    }


def _shown(channel: models.Channel) -> dict[str, Any]:
    return {
        "id": channel.id,
        "name": channel.name,
        "kind": channel.kind,
        "config": shown_config(channel.config),
        "project": channel.project,
        "enabled": channel.enabled,
        "origin": channel.origin,
        "created_at": channel.created_at,
    }


def _listed(parcel: outbox.Parcel) -> dict[str, Any]:
    delivery, channel, series, transition = parcel.delivery, parcel.channel, parcel.series, parcel.transition
    return {
        "id": delivery.id,
        "run": delivery.run_id,
        "rule": delivery.rule,
        "series": series.key if series else None,
        "episode": delivery.episode,
        "kind": delivery.kind,
        "severity": transition.severity if transition else None,
        "step": transition.step if transition else None,
        "channel": {"id": delivery.channel_id, "name": channel.name, "kind": channel.kind}
        if channel
        else None,
        "state": delivery.state,
        "tries": delivery.tries,
        "error": delivery.error,
        "next_at": delivery.next_at if delivery.state == "waiting" else None,
        "created_at": delivery.created_at,
        "delivered_at": delivery.delivered_at,
        "at": iso(transition.at) if transition else None,
    }
