"""Message -> the words that every kind of channel shows: a headline, what happened, facts, what to try. Plain text, unescaped."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from foreshock_server.notify.message import AlertFacts, Message, Number

TRIES_SHOWN = 3


class Look(NamedTuple):
    """Emoji, colour and word together: none of them alone reaches everyone."""

    emoji: str
    colour: str
    word: str


_LOOKS = {
    ("alert.fired", "critical"): Look("🔴", "#d1242f", ""),
    ("alert.fired", "warning"): Look("🟠", "#d4a72c", ""),
    ("alert.escalated", "critical"): Look("🔴", "#d1242f", "Worse: "),
    ("alert.escalated", "warning"): Look("🟠", "#d4a72c", "Worse: "),
    ("alert.repeated", "critical"): Look("🔴", "#d1242f", "Still: "),
    ("alert.repeated", "warning"): Look("🟠", "#d4a72c", "Still: "),
    ("alert.resolved", "critical"): Look("🟢", "#1a7f37", "Resolved: "),
    ("alert.resolved", "warning"): Look("🟢", "#1a7f37", "Resolved: "),
    ("channel.test", "warning"): Look("🔵", "#0969da", ""),
}


def look(message: Message) -> Look:
    """How a message of this type and severity is told from others at a glance."""
    return _LOOKS.get((message.type, message.alert.severity), Look("🟠", "#d4a72c", ""))


def headline(message: Message, *, emoji: bool = True) -> str:
    """What, in one line: `🟢 Resolved: Policy entropy collapse`."""
    shown = look(message)
    return (f"{shown.emoji} " if emoji else "") + shown.word + message.alert.title


def about(message: Message) -> str:
    """Which run: `project / name`."""
    return f"{message.run.project} / {message.run.name}"


def facts(message: Message) -> list[tuple[str, str]]:
    """Names and values, at most seven; those of which nothing is known are left out."""
    alert = message.alert
    if message.type == "channel.test":
        return []
    share = alert.share_of_baseline
    baseline = show(alert.baseline, alert.unit)
    if isinstance(share, float):
        baseline += f" (now {percent(share)} of it)"
    steps = f"{alert.step:,}" if alert.step is not None else None
    if steps and alert.since_step is not None:
        steps += f" (since {alert.since_step:,})"
    reading = alert.value if alert.level is None else alert.level
    own = alert.severity == "warning" and alert.warn_level is not None
    limit = alert.warn_level if own else alert.threshold
    named = [
        ("Run", about(message)),
        ("Place", _place(alert)),
        ("Step", steps),
        (alert.statistic or "Value", show(reading, alert.unit) if reading is not None else None),
        ("Baseline", baseline if alert.baseline is not None else None),
        ("Threshold", show(limit, alert.unit) if limit is not None else None),
        _ahead(alert),
    ]
    return [(name, fact) for name, fact in named if fact]


def advice(alert: AlertFacts) -> list[tuple[str, str]]:
    """What to try and who says so; a paper names itself, anything else says first what it rests on."""
    told = []
    for one in alert.runbook.tries[:TRIES_SHOWN]:
        words = [one.basis if one.basis != "paper" else None, one.source]
        told.append((one.text, ": ".join(filter(None, words))))
    return told


def link_words(message: Message) -> str:
    """What the link says."""
    return "Open Foreshock" if message.type == "channel.test" else "Open the run"


def link(message: Message) -> str:
    """The address with everything quoted that could end it early."""
    return quote(message.link, safe=":/?#[]@!$&'()*+,;=%-._~")


def plain(message: Message) -> str:
    """All of it as lines of text, for receivers that draw nothing."""
    alert = message.alert
    lines = [alert.message] if alert.message else []
    lines += [f"{name}: {fact}" for name, fact in facts(message)]
    if message.type != "alert.resolved":
        if alert.runbook.meaning:
            lines += ["", "What it means", alert.runbook.meaning]
        if alert.runbook.check:
            lines += ["", "What to check", *(f"- {line}" for line in alert.runbook.check)]
        if alert.runbook.tries:
            lines += ["", "What to try"]
            lines += [f"- {text}" + (f" ({source})" if source else "") for text, source in advice(alert)]
    if message.incident is not None and message.incident.acknowledge is not None:
        lines += ["", f"Acknowledge: {message.incident.acknowledge}"]
    return "\n".join(lines)


def clip(words: str, limit: int) -> str:
    """At most `limit` characters on one line, the cut marked."""
    return cut(" ".join(words.split()), limit)


def cut(words: str, limit: int) -> str:
    """At most `limit` characters, the cut marked."""
    return words if len(words) <= limit else words[: limit - 1] + "…"


def cut_bytes(words: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, the cut marked, no character cut in half."""
    data = words.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    return data[: limit - 3].decode("utf-8", "ignore") + "…"


def show(value: Number, unit: str | None = None) -> str:
    """A number as a person reads it: four significant digits and its unit."""
    if value is None:
        return "–"
    shown = value if isinstance(value, str) else f"{value:.4g}"
    return f"{shown} {unit}" if unit else shown


def percent(share: float) -> str:
    """As the rules' own sentences write it."""
    return f"{100 * share:.0f} %"


def _place(alert: AlertFacts) -> str | None:
    further = f"and {alert.also_at:,} more" if alert.also_at else None
    return " ".join(filter(None, (alert.place, further))) or None


def _ahead(alert: AlertFacts) -> tuple[str, str | None]:
    forecast = alert.forecast
    if forecast is None:
        return "Forecast", None
    low, high, target = (forecast[name] for name in ("low_steps", "high_steps", "target_share"))
    below = f"below {percent(target)} of the baseline " if isinstance(target, float) else ""
    return "At this pace", f"{below}in {low:,} to {high:,} steps"
