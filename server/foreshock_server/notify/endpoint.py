"""Channels and deliveries over HTTP. Secrets go in and are never read back; one we made is shown once, when we made it."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from foreshock_server import models
from foreshock_server.deps import PLAIN, Asking, Reading, Writing
from foreshock_server.errors import Invalid
from foreshock_server.notify.channel import NotDelivered
from foreshock_server.notify.kinds import (
    KINDS,
    check_reach,
    checked_config,
    open_channel,
    shown_config,
    way_of,
)
from foreshock_server.notify.message import iso, trial_message
from foreshock_server.store import breakers, channels, letters, outbox
from foreshock_server.store.incidents import MOST
from foreshock_server.store.matching import Matches

router = APIRouter(tags=["notify"])

LONGEST = 30 * 86400.0  # seconds that a channel may wait
TEST_DEADLINE = 5.0  # seconds that somebody who pressed the button waits at most


class Routing(BaseModel):
    """What a channel gets, when, how often, and how many together."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    matches: Matches | None = Field(None, description="only alerts that fit; null: all")
    after_seconds: float | None = Field(
        None,
        gt=0,
        le=LONGEST,
        description="only incidents that nobody acknowledged for so long; null: at once",
    )
    repeat_seconds: float | None = Field(
        None,
        ge=60,
        le=LONGEST,
        description="says so again this often until somebody acknowledges; null: never",
    )
    digest_seconds: float | None = Field(
        None, ge=1, le=LONGEST, description="collects for so long and sends one message; null: each by itself"
    )

    def routing(self) -> dict[str, Any]:
        """What of it is given, as it is stored."""
        given = self.model_fields_set & set(Routing.model_fields)
        told = {name: getattr(self, name) for name in given - {"matches"}}
        if "matches" in given:
            told["matches"] = None if self.matches is None else self.matches.given()
        return told


class NewChannel(Routing):
    """A channel as a person describes it."""

    name: str = Field(min_length=1, max_length=100, pattern=PLAIN)
    kind: str = Field(json_schema_extra={"enum": list(KINDS)})
    url: str | None = Field(
        None,
        max_length=2000,
        pattern=PLAIN,
        description="where it is; see the server's README for each kind. pagerduty: may be left out",
    )
    secret: str | None = Field(
        None,
        max_length=1000,
        description="webhook: whsec_… to sign with, made by the server when left out; pagerduty: the integration key; "
        "email: the password; ntfy: an access token; slack: the token of a bot, where the url is that of chat.postMessage",
    )
    project: str | None = Field(
        None, max_length=200, pattern=PLAIN, description="only this project's runs; left out: all"
    )
    enabled: bool = True


def _no_nulls(schema: dict[str, Any]) -> None:
    """None in these fields means "left out"; sent as null it is refused."""
    for name in ("name", "url", "secret", "enabled"):
        told = schema["properties"][name]
        told.update(next(one for one in told.pop("anyOf") if one["type"] != "null"))
        told.pop("default", None)


class ChannelChange(Routing):
    """What to change; what is left out stays."""

    model_config = ConfigDict(json_schema_extra=_no_nulls)

    name: str | None = Field(None, min_length=1, max_length=100, pattern=PLAIN)
    url: str | None = Field(None, max_length=2000, pattern=PLAIN)
    secret: str | None = Field(None, max_length=1000)
    project: str | None = Field(None, max_length=200, pattern=PLAIN)
    enabled: bool | None = None


@router.get("/channels")
def list_channels(session: Reading) -> dict[str, Any]:
    """Every channel, masked."""
    health = breakers.breakers(session)
    return {
        "channels": [_shown(channel, health.get(channel.id)) for channel in channels.list_channels(session)]
    }


@router.post("/channels", status_code=201)
def create_channel(wish: NewChannel, request: Request, session: Writing) -> dict[str, Any]:
    """The new channel; `secret` is there when the server made it, and only in this answer."""
    config = checked_config(wish.kind, wish.url, wish.secret)
    check_reach(config, request.app.state.settings)
    channel = channels.create_channel(
        session,
        name=wish.name,
        kind=wish.kind,
        config=config,
        project=wish.project,
        enabled=wish.enabled,
        now=time.time(),
        **wish.routing(),
    )
    shown = _shown(channel)
    if wish.secret is None and "secret" in config:
        shown["secret"] = config["secret"]
    return shown


@router.get("/channels/{channel_id}")
def get_channel(channel_id: str, session: Reading) -> dict[str, Any]:
    """One channel, masked."""
    return _shown(channels.get_channel(session, channel_id), session.get(models.Breaker, channel_id))


@router.patch("/channels/{channel_id}")
def change_channel(
    channel_id: str, change: ChannelChange, request: Request, session: Writing
) -> dict[str, Any]:
    """The channel as it is now."""
    named = {**change.model_dump(exclude_unset=True, exclude={"matches"}), **change.routing()}
    for required in ("name", "url", "enabled", "secret"):
        if required in named and named[required] is None:
            raise Invalid(f"`{required}` cannot be null; leave it out to keep it.", field=required)
    channel = channels.get_channel(session, channel_id)
    if "url" in named or "secret" in named:
        url = named.pop("url", channel.config["url"])
        secret = named.pop("secret", channel.config.get("secret"))
        named["config"] = checked_config(channel.kind, url, secret)
        check_reach(named["config"], request.app.state.settings)
    changed = channels.change_channel(session, channel_id, **named)
    return _shown(changed, session.get(models.Breaker, channel_id, populate_existing=True))


@router.delete("/channels/{channel_id}", status_code=204)
def delete_channel(channel_id: str, session: Writing) -> None:
    """Forget the channel."""
    channels.delete_channel(session, channel_id)


@router.post("/channels/{channel_id}/test")
def test_channel(channel_id: str, request: Request) -> dict[str, Any]:
    """Send a test message now, and say what happened: {delivered, detail, status, said, seconds}. No transaction is open meanwhile.

    When it arrives, what waits behind a channel that failed goes too.
    """
    database, settings = request.app.state.database, request.app.state.settings
    with database.reading() as session:
        channel = channels.get_channel(session, channel_id)
    began, now = time.monotonic(), time.time()
    message = trial_message(channel.name, settings.page_url, now)
    delivered, detail, answer = True, "The receiver took it.", None
    try:
        way = way_of(channel, settings, deadline=TEST_DEADLINE)
        answer = open_channel(channel, way).send(message, f"test-{channel.id}-{int(now * 1000)}")
    except NotDelivered as problem:
        delivered, detail, answer = False, str(problem), problem.answer
    if delivered:
        with database.writing() as session:
            if breakers.worked(session, channel_id):
                outbox.release(session, channel_id, time.time())
    return {
        "delivered": delivered,
        "detail": detail,
        "status": answer.status if answer else None,
        "said": answer.said if answer else "",
        "seconds": round(time.monotonic() - began, 3),
    }


@router.get("/deliveries")
def list_deliveries(
    session: Reading,
    access: Asking,
    run: str | None = None,
    state: Literal["waiting", "delivered", "failed", "collected"] | None = None,
    incident: Annotated[int | None, Query(ge=1, le=MOST, description="of the run: its number")] = None,
    limit: Annotated[int, Query(json_schema_extra={"minimum": 1, "maximum": 1000})] = 100,
) -> dict[str, Any]:
    """The newest deliveries, and how many there are in each state."""
    if not 1 <= limit <= 1000:
        raise Invalid("`limit` must be between 1 and 1000.", field="limit")
    health = breakers.breakers(session)
    found = outbox.list_deliveries(session, run, state, limit, access.project, incident)
    return {
        "counts": dict(outbox.count_deliveries(session, run, access.project)),
        "deliveries": [_listed(parcel, health.get(parcel.delivery.channel_id)) for parcel in found],
    }


@router.get("/deliveries/{delivery_id}")
def get_delivery(delivery_id: str, session: Reading, access: Asking) -> dict[str, Any]:
    """One message with the log of its latest tries: when, how long, what the receiver answered, what went wrong."""
    parcel = letters.get_delivery(session, delivery_id, access.project)
    breaker = session.get(models.Breaker, parcel.delivery.channel_id)
    return {**_listed(parcel, breaker), "log": parcel.delivery.log or []}


@router.post("/deliveries/{delivery_id}/retry")
def retry_delivery(delivery_id: str, session: Writing) -> dict[str, Any]:
    """Let one message that failed wait anew, under its old id. 409 when something later about the same arrived meanwhile."""
    return _listed(letters.retry_one(session, delivery_id, time.time()))


@router.post("/deliveries/retry")
def retry_deliveries(session: Writing, channel: str | None = None, run: str | None = None) -> dict[str, Any]:
    """Let all messages that failed wait anew, of one channel or run: {retried, outdated}; what is outdated stays."""
    which = [models.Delivery.channel_id == channel] if channel is not None else []
    which += [models.Delivery.run_id == run] if run is not None else []
    retried = letters.retry(session, time.time(), *which)
    return {"retried": retried.ids, "outdated": retried.outdated}


def _shown(channel: models.Channel, breaker: models.Breaker | None = None) -> dict[str, Any]:
    return {
        "id": channel.id,
        "name": channel.name,
        "kind": channel.kind,
        "config": shown_config(channel.kind, channel.config),
        "project": channel.project,
        "matches": channel.matches,
        "after_seconds": channel.after_seconds,
        "repeat_seconds": channel.repeat_seconds,
        "digest_seconds": channel.digest_seconds,
        "enabled": channel.enabled,
        "origin": channel.origin,
        "created_at": channel.created_at,
        "health": breakers.shown(breaker, time.time()),
    }


def _listed(parcel: outbox.Parcel, breaker: models.Breaker | None = None) -> dict[str, Any]:
    delivery, channel, series, transition = parcel.delivery, parcel.channel, parcel.series, parcel.transition
    last = (delivery.log or [{}])[-1]
    quiet_until = breaker.quiet_until if breaker else 0.0
    return {
        "id": delivery.id,
        "run": delivery.run_id,
        "rule": delivery.rule,
        "series": series.key if series else None,
        "episode": delivery.episode,
        "incident": delivery.incident,
        "kind": delivery.kind,
        "severity": transition.severity if transition else None,
        "step": transition.step if transition else None,
        "channel": {"id": delivery.channel_id, "name": channel.name, "kind": channel.kind}
        if channel
        else None,
        "state": delivery.state,
        "tries": delivery.tries,
        "error": delivery.error,
        "answer": {"status": last.get("status"), "said": last.get("said", "")} if last else None,
        "next_at": max(delivery.next_at, quiet_until) if delivery.state == "waiting" else None,
        "created_at": delivery.created_at,
        "retried_at": delivery.retried_at,
        "delivered_at": delivery.delivered_at,
        "at": iso(transition.at) if transition else None,
    }
