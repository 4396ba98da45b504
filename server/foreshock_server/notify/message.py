"""Rows of one transition -> the Message that every channel sends. Pure; every fact may be missing, none is invented."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

from foreshock_server.models import Delivery, Incident, Run, Series, Transition
from foreshock_server.store.links import acknowledge_path

Number = float | str | None  # a finite number, or "NaN", "Infinity", "-Infinity", or nothing known

_TYPES = {
    "fired": "alert.fired",
    "escalated": "alert.escalated",
    "repeated": "alert.repeated",
    "resolved": "alert.resolved",
}
_NAMED = 5  # other rules
_NON_FINITE = ("NaN", "Infinity", "-Infinity")


@dataclass(frozen=True)
class RunFacts:
    """Which run, and where a person looks at it."""

    id: str
    project: str
    name: str
    url: str


@dataclass(frozen=True)
class Advice:
    """One thing to try, and who says so."""

    text: str
    source: str | None = None
    basis: str | None = None  # paper: the source proposes it; inference: the rule's author does


@dataclass(frozen=True)
class Runbook:
    """What the alert means, what to check first, what is known to help."""

    meaning: str | None = None
    check: tuple[str, ...] = ()
    tries: tuple[Advice, ...] = ()

    def payload(self) -> dict[str, Any]:
        """`try` is a word of Python's, so the field is called tries."""
        return {
            "meaning": self.meaning,
            "check": list(self.check),
            "try": [asdict(advice) for advice in self.tries],
        }


@dataclass(frozen=True)
class AlertFacts:
    """What was read, against what, and what the rule says about it."""

    rule: str
    title: str
    severity: str
    episode: int
    family: str | None = None
    series: str | None = None
    statistic: str | None = None
    place: str | None = None
    unit: str | None = None
    step: int | None = None
    since_step: int | None = None
    value: Number = None  # the last reading
    level: Number = None  # what was compared: several readings together
    baseline: Number = None
    threshold: Number = None  # of a critical alert
    warn_level: Number = None  # of a warning, where it has its own
    clear: Number = None
    share_of_baseline: Number = None  # of the level, or else of the value
    forecast: Mapping[str, Number] | None = None  # low_steps, high_steps until target_share of the baseline
    also_at: int | None = None  # further places where the same rule fires
    message: str | None = None
    reason: str | None = None
    runbook: Runbook = field(default_factory=Runbook)

    def payload(self) -> dict[str, Any]:
        """The `alert` object of the webhook body."""
        return {**asdict(self), "runbook": self.runbook.payload()}


@dataclass(frozen=True)
class IncidentFacts:
    """What the alert is part of."""

    number: int  # within the run
    family: str
    rules: tuple[str, ...]  # all that had a part so far
    acknowledge: str | None = None  # a link that needs no key; its page has a button


@dataclass(frozen=True)
class Chart:
    """A picture of the alerting series around the alarm."""

    words: str  # for whoever does not see it
    url: str | None  # signed, for a week, no key needed; None: the server has no public address
    draw: Callable[[], bytes | None]  # PNG; None when it could not be drawn


@dataclass(frozen=True)
class Opening:
    """The first message about the same incident, where the receiver gave it a name by which it can be answered and changed."""

    receipt: str  # as the channel's Answer had it
    message: Message


@dataclass(frozen=True)
class Message:
    """What a channel sends: one change of one alert, or a test."""

    type: str  # alert.fired | alert.escalated | alert.repeated | alert.resolved | alert.digest | channel.test
    at: str  # ISO 8601, UTC: time of the reading
    link: str
    run: RunFacts
    alert: AlertFacts
    incident: IncidentFacts | None = None
    parts: tuple[Message, ...] = ()  # of a digest: what it stands for
    chart: Chart | None = field(default=None, compare=False)
    opening: Opening | None = None

    @property
    def image(self) -> str | None:
        """Where receivers that fetch images find the chart; None: nowhere."""
        return None if self.chart is None else self.chart.url

    @property
    def thread(self) -> str:
        """The same for all that is said about one incident, so that a receiver can pair it."""
        what = self.alert.rule if self.incident is None else self.incident.number
        about = json.dumps([self.run.id, what, self.at if self.type == "channel.test" else None])
        return "foreshock-" + hashlib.sha256(about.encode()).hexdigest()[:32]

    def payload(self) -> dict[str, Any]:
        """The body of a webhook: standard JSON, non-finite numbers as strings."""
        return {
            "type": self.type,
            "at": self.at,
            "link": self.link,
            "run": asdict(self.run),
            "alert": self.alert.payload(),
            "incident": None if self.incident is None else asdict(self.incident),
            "chart": self.image,
            **({"parts": [one.payload() for one in self.parts]} if self.parts else {}),
        }


def message_of(
    transition: Transition,
    run: Run | None,
    series: Series | None,
    page_url: str,
    runbook: Mapping[str, Any] | None = None,
    incident: Incident | None = None,
    delivery: Delivery | None = None,
) -> Message:
    """The message about this transition. `runbook` is the rule's, where the transition does not carry its own; `incident` and
    `delivery` are what it is part of and what it is sent for, where they are known."""
    kind = transition.kind if delivery is None else delivery.kind
    detail = transition.detail
    value, level, baseline = (number(detail.get(name)) for name in ("value", "level", "baseline"))
    url = f"{page_url}/runs/{transition.run_id}"
    return Message(
        type=_TYPES.get(kind, f"alert.{kind}"),
        at=iso(transition.at),
        link=url,
        run=RunFacts(
            id=transition.run_id,
            project=run.project if run else "",
            name=run.name if run else transition.run_id,
            url=url,
        ),
        alert=AlertFacts(
            rule=transition.rule,
            title=text(detail.get("title")) or transition.rule.replace("-", " ").capitalize(),
            severity=transition.severity,
            episode=transition.episode,
            family=text(detail.get("family")) or (series.family if series else None),
            series=series.key if series else text(detail.get("key")),
            statistic=series.statistic if series else text(detail.get("statistic")),
            place=(series.place if series else text(detail.get("place"))) or None,
            unit=text(detail.get("unit", series.unit if series else None)) or None,
            step=transition.step,
            since_step=transition.since_step,
            value=value,
            level=level,
            baseline=baseline,
            threshold=number(detail.get("threshold")),
            warn_level=number(detail.get("warn_level")),
            clear=number(detail.get("clear")),
            share_of_baseline=share(value if level is None else level, baseline),
            forecast=_forecast(detail.get("forecast")),
            also_at=_count(detail.get("also_at")),
            message=_sentence(transition, incident, delivery),
            reason=text(detail.get("reason")),
            runbook=_runbook(detail.get("runbook") or runbook),
        ),
        incident=_incident(incident, delivery, page_url),
    )


def trial_message(channel_name: str, page_url: str, now: float) -> Message:
    """A message that nobody can take for an alert."""
    return Message(
        type="channel.test",
        at=iso(now),
        link=page_url,
        run=RunFacts(id="test", project="test", name="test", url=page_url),
        alert=AlertFacts(
            rule="test",
            title="Test message",
            severity="warning",
            episode=0,
            message=f"Foreshock can reach this channel ({channel_name}). No run is in trouble: somebody pressed *test*.",
        ),
    )


def iso(seconds: float) -> str:
    """Seconds since the epoch as people and programs both read them."""
    return (
        datetime.fromtimestamp(seconds, timezone.utc)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def number(value: object) -> Number:
    """A finite number as it is, a non-finite one by its name, anything else as nothing."""
    if isinstance(value, str):
        return value if value in _NON_FINITE else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def share(value: Number, baseline: Number) -> Number:
    """Value over baseline, where that says something: both finite, the baseline above zero."""
    if isinstance(value, float) and isinstance(baseline, float) and baseline > 0:
        return number(value / baseline)
    return None


def text(value: object) -> str | None:
    """A non-empty string, or nothing."""
    return value.strip() or None if isinstance(value, str) else None


def _sentence(transition: Transition, incident: Incident | None, delivery: Delivery | None) -> str | None:
    """What the rule said, and what the incident adds: for how long it goes on, which other rules had a part."""
    parts = [text(transition.detail.get("message"))]
    if incident is not None and delivery is not None:
        if delivery.kind == "repeated" and incident.told_at is not None:
            waited = duration(delivery.created_at - incident.told_at)
            parts.insert(0, f"Still firing after {waited}, and nobody acknowledged it.")
        others = [rule for rule in incident.rules if rule != transition.rule]
        if others:
            more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
            parts.append(f"Also in this incident: {', '.join(others[:_NAMED])}{more}.")
    return " ".join(filter(None, parts)) or None


def duration(seconds: float) -> str:
    """Whole minutes, hours or days, as people say it."""
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * size or (seconds >= size and name != "minute"):
            count = round(seconds / size)
            return f"{count} {name}" + ("s" if count > 1 else "")
    return "a minute"


def _incident(incident: Incident | None, delivery: Delivery | None, page_url: str) -> IncidentFacts | None:
    if incident is None or delivery is None:
        return None
    open_to_all = bool(incident.secret) and delivery.kind != "resolved"
    link = page_url + acknowledge_path(incident, delivery.created_at) if open_to_all else None
    return IncidentFacts(incident.number, incident.family, tuple(incident.rules), link)


def _forecast(value: object) -> Mapping[str, Number] | None:
    if not isinstance(value, Mapping):
        return None
    low, high = _count(value.get("low_steps")), _count(value.get("high_steps"))
    if low is None or high is None:
        return None
    return {"low_steps": low, "high_steps": high, "target_share": number(value.get("target_share"))}


def _count(value: object) -> int | None:
    known = number(value)
    return round(known) if isinstance(known, float) else None


def _runbook(value: object) -> Runbook:
    if not isinstance(value, Mapping):
        return Runbook()
    return Runbook(
        meaning=text(value.get("meaning")),
        check=tuple(filter(None, map(text, _listed(value.get("check"))))),
        tries=tuple(filter(None, map(_advice, _listed(value.get("try"))))),
    )


def _listed(value: object) -> Sequence[object]:
    if isinstance(value, list | tuple):
        return value
    return () if value is None else (value,)


def _advice(value: object) -> Advice | None:
    if isinstance(value, Mapping):
        what = text(value.get("text"))
        return Advice(what, text(value.get("source")), text(value.get("basis"))) if what else None
    what = text(value)
    return Advice(what) if what else None
