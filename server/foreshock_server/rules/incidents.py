"""Changes of one rule's alerts in one run -> the few that are worth a message. Pure.

A rule speaks once per run and trouble: the first of its places that fires leads, later ones join it in silence, and when the last
of them has resolved, the leader's resolution is sent. So twenty-four layers that lose their rank together are one message and not
forty-eight, and whoever receives them can pair them by run, rule, series and episode.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from foreshock_server.rules.pack import Notify
from foreshock_server.rules.state import Kind, Severity


class Leader(NamedTuple):
    """The alert that a message was sent about."""

    series_id: int
    episode: int


@dataclass(frozen=True)
class Member:
    """One alert of the rule that is firing now."""

    episode: int
    severity: Severity
    leader: Leader | None  # None: nothing was said about it


class Message(NamedTuple):
    """The transition to send."""

    series_id: int
    episode: int
    kind: Kind


def speak(
    firing: dict[int, Member],
    *,
    series_id: int,
    episode: int,
    kind: Kind,
    severity: Severity,
    notify: Notify,
    places: int,
) -> Message | None:
    """The message that this change is worth; `firing` (by series) is brought to what it is after the change.

    `places` is how many series of the run the rule watches.
    """
    if kind is Kind.RESOLVED:
        return _when_resolved(firing, series_id)
    before = firing.get(series_id)
    firing[series_id] = Member(episode, severity, before.leader if before else None)
    leader = next((one.leader for one in firing.values() if one.leader is not None), None)
    if leader is not None:
        first_critical = kind is Kind.ESCALATED and not any(
            one.severity is Severity.CRITICAL for number, one in firing.items() if number != series_id
        )
        firing[series_id] = Member(episode, severity, leader)
        return Message(series_id, episode, kind) if notify.escalation and first_critical else None
    enough = min(notify.places, max(1, math.ceil(notify.share * places)))
    if severity is not Severity.CRITICAL and (
        len(firing) < enough or notify.severity == Severity.CRITICAL.value
    ):
        return None
    for number, one in firing.items():
        firing[number] = replace(one, leader=Leader(series_id, episode))
    return Message(series_id, episode, kind)


def _when_resolved(firing: dict[int, Member], series_id: int) -> Message | None:
    member = firing.pop(series_id, None)
    if member is None or member.leader is None or any(one.leader == member.leader for one in firing.values()):
        return None
    return Message(member.leader.series_id, member.leader.episode, Kind.RESOLVED)
