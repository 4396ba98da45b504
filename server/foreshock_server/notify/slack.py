"""Message -> Block Kit payload for a Slack incoming webhook, within Slack's limits; user text cannot format or mention."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from foreshock_server.notify.message import AlertFacts, Message, Number
from foreshock_server.notify.post import DEADLINE, post

HEADER_LIMIT = 150  # characters of a header's text
TEXT_LIMIT = 3000  # of a section's text
FIELD_LIMIT = 2000  # of a field's text; a section has at most ten
TRIES_SHOWN = 3

# Emoji and colour together: neither alone reaches everyone.
_LOOKS = {
    ("alert.fired", "critical"): ("🔴", "#d1242f", ""),
    ("alert.fired", "warning"): ("🟠", "#d4a72c", ""),
    ("alert.escalated", "critical"): ("🔴", "#d1242f", "Worse: "),
    ("alert.resolved", "critical"): ("🟢", "#1a7f37", "Resolved: "),
    ("alert.resolved", "warning"): ("🟢", "#1a7f37", "Resolved: "),
    ("channel.test", "warning"): ("🔵", "#0969da", ""),
}


class Slack:
    """An incoming webhook. Slack knows no message ids, so a repeated try may show twice there; it never shows nowhere."""

    def __init__(self, url: str, deadline: float = DEADLINE) -> None:
        self._url = url
        self._deadline = deadline

    def send(self, message: Message, delivery_id: str) -> None:
        """One POST; the id goes along as a header for receivers that imitate Slack."""
        body = json.dumps(blocks(message), allow_nan=False, ensure_ascii=False).encode()
        headers = {"content-type": "application/json; charset=utf-8", "webhook-id": delivery_id}
        post(self._url, body, headers, self._deadline)


def blocks(message: Message) -> dict[str, Any]:
    """What Slack draws: a headline, then a coloured attachment with what happened, the numbers, what to try, the link."""
    alert = message.alert
    emoji, colour, word = _LOOKS.get((message.type, alert.severity), ("🟠", "#d4a72c", ""))
    headline = clip(f"{emoji} {word}{alert.title}", HEADER_LIMIT)
    about = f"{message.run.project} / {message.run.name}"
    details: list[dict[str, Any]] = []
    if alert.message:
        details.append(_section(escape(alert.message, TEXT_LIMIT)))
    fields = _fields(message)
    if fields:
        details.append({"type": "section", "fields": fields})
    if message.type != "alert.resolved":
        details.extend(_section(words) for words in _runbook(alert))
    details.append(_link(message))
    glance = f"{headline} · {about}" + (f": {alert.message}" if alert.message else "")
    return {
        "text": escape(glance, TEXT_LIMIT),  # all that a phone's lock screen shows
        "blocks": [{"type": "header", "text": {"type": "plain_text", "text": headline, "emoji": True}}],
        "attachments": [{"color": colour, "fallback": escape(headline, TEXT_LIMIT), "blocks": details}],
    }


def escape(words: str, limit: int) -> str:
    """Text in which Slack finds no mention, link or entity; cut to the limit without cutting an entity."""
    room = limit - 1
    safe: list[str] = []
    for character in words:
        written = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(character, character)
        if len(written) > room:
            return "".join(safe) + "…"
        safe.append(written)
        room -= len(written)
    return "".join(safe)


def clip(words: str, limit: int) -> str:
    """At most `limit` characters on one line, the cut marked."""
    line = " ".join(words.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def show(value: Number, unit: str | None = None) -> str:
    """A number as a person reads it: four significant digits and its unit."""
    if value is None:
        return "–"
    shown = value if isinstance(value, str) else f"{value:.4g}"
    return f"{shown} {unit}" if unit else shown


def percent(share: float) -> str:
    """As the rules' own sentences write it."""
    return f"{100 * share:.0f} %"


def _fields(message: Message) -> list[dict[str, str]]:
    """Ten at most, which is what Slack takes; those of which nothing is known are left out."""
    alert, run = message.alert, message.run
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
    facts = [
        ("Run", f"{run.project} / {run.name}"),
        ("Place", _place(alert)),
        ("Step", steps),
        (alert.statistic or "Value", show(reading, alert.unit) if reading is not None else None),
        ("Baseline", baseline if alert.baseline is not None else None),
        ("Threshold", show(limit, alert.unit) if limit is not None else None),
        _ahead(alert),
    ]
    return [
        {"type": "mrkdwn", "text": f"*{escape(name, 200)}*\n{escape(fact, FIELD_LIMIT - 300)}"}
        for name, fact in facts
        if fact
    ]


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


def _runbook(alert: AlertFacts) -> list[str]:
    book, written = alert.runbook, []
    if book.meaning:
        written.append("*What it means*\n" + escape(book.meaning, TEXT_LIMIT - 100))
    if book.tries:
        lines = []
        for advice in book.tries[:TRIES_SHOWN]:
            words = [advice.basis if advice.basis != "paper" else None, advice.source]  # a paper names itself
            source = escape(": ".join(filter(None, words)), 250)
            lines.append(f"• {escape(advice.text, 600)}" + (f" _({source})_" if source else ""))
        written.append("*What to try*\n" + "\n".join(lines))
    return written


def _section(words: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": words}}


def _link(message: Message) -> dict[str, Any]:
    """A link in the text and no button: a button calls an app back, and an incoming webhook has none."""
    address = escape(quote(message.link, safe=":/?#[]@!$&'()*+,;=%-._~"), 2000)
    words = f"<{address}|Open the run>" if message.type != "channel.test" else f"<{address}|Open Foreshock>"
    if message.type != "channel.test":
        words += f" · rule {escape(message.alert.rule, 200)} · {message.alert.severity}"
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": words}]}
