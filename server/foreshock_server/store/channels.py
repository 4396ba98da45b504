"""Where alerts go, as rows: made by the API or by the server's settings, and found again under the same id."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.errors import Invalid, UnknownChannel
from foreshock_server.models import Channel
from foreshock_server.store import breakers
from foreshock_server.store.once import insert_once

FROM_SETTINGS = "settings"
FROM_API = "api"


@dataclass(frozen=True)
class Wanted:
    """A channel that the settings ask for; its id is computed from the kind, so a restart finds it again."""

    kind: str
    config: Mapping[str, Any] = field(repr=False)  # holds secrets
    defaults: Mapping[str, Any] = field(
        default_factory=dict, repr=False
    )  # used when the row is made, kept after

    @property
    def id(self) -> str:
        """The same on every start and in every process."""
        return f"settings-{self.kind}"

    @property
    def name(self) -> str:
        """Reserved: `create_channel` takes no name that begins so."""
        return f"settings: {self.kind}"


def list_channels(session: Session) -> Sequence[Channel]:
    """All of them, those of the settings first, then by name."""
    return session.scalars(select(Channel).order_by(Channel.origin.desc(), Channel.name)).all()


def get_channel(session: Session, channel_id: str) -> Channel:
    """The channel with this id."""
    channel = session.get(Channel, channel_id)
    if channel is None:
        raise UnknownChannel
    return channel


def create_channel(
    session: Session,
    *,
    name: str,
    kind: str,
    config: Mapping[str, Any],
    project: str | None,
    enabled: bool,
    now: float,
    **routing: Any,
) -> Channel:
    """A channel made by a person; `routing`: its matches, after_seconds, repeat_seconds, digest_seconds."""
    _check_name(session, name)
    channel = Channel(
        id=uuid.uuid4().hex,
        name=name,
        kind=kind,
        config=dict(config),
        project=project,
        enabled=enabled,
        origin=FROM_API,
        created_at=now,
        **routing,
    )
    session.add(channel)
    session.flush()
    return channel


def change_channel(session: Session, channel_id: str, **changes: Any) -> Channel:
    """The channel with these columns changed; what waits for it is sent as it is now."""
    channel = _editable(session, channel_id)
    if changes.get("name", channel.name) != channel.name:
        _check_name(session, changes["name"])
    if "config" in changes or changes.get("enabled"):
        breakers.forget(session, channel_id)  # as it is now it may work
    for column, value in changes.items():
        setattr(channel, column, value)
    session.flush()
    return channel


def delete_channel(session: Session, channel_id: str) -> None:
    """Forget the channel; what still waits for it fails when its turn comes, and says why."""
    session.delete(_editable(session, channel_id))
    breakers.forget(session, channel_id)
    session.flush()


def sync_settings(session: Session, wanted: Sequence[Wanted], now: float) -> list[Channel]:
    """Bring the channels that settings made to what the settings say now; those no longer named are disabled.

    Safe when several processes start at once: the first makes the row, the others find it with its defaults.
    """
    current = []
    for want in wanted:
        row = {
            "id": want.id,
            "name": want.name,
            "kind": want.kind,
            "config": {**want.defaults, **want.config},
            "project": None,
            "enabled": True,
            "origin": FROM_SETTINGS,
            "created_at": now,
        }
        insert_once(session, Channel, row)
        channel = get_channel(session, want.id)
        config = {**channel.config, **want.config}
        if config != channel.config:
            breakers.forget(session, channel.id)
        channel.config = config
        channel.enabled = True
        current.append(channel)
    gone = select(Channel).where(
        Channel.origin == FROM_SETTINGS, Channel.id.not_in([want.id for want in wanted])
    )
    for channel in session.scalars(gone):
        channel.enabled = False
    session.flush()
    return current


def _editable(session: Session, channel_id: str) -> Channel:
    channel = get_channel(session, channel_id)
    if channel.origin == FROM_SETTINGS:
        raise Invalid(
            "This channel comes from the server's settings: change or unset "
            f"FORESHOCK_{'SLACK_WEBHOOK_URL' if channel.kind == 'slack' else 'WEBHOOK_URL'} and start the server again.",
            field="id",
        )
    return channel


def _check_name(session: Session, name: str) -> None:
    if name.startswith("settings:"):
        raise Invalid(
            "Names that begin with `settings:` belong to channels of the server's settings; choose another.",
            field="name",
        )
    if session.scalar(select(Channel.id).where(Channel.name == name)) is not None:
        raise Invalid(f"Another channel is called {name!r}; names are unique, choose another.", field="name")
