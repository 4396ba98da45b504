"""Message -> Block Kit payload, for a Slack incoming webhook, within Slack's limits; user text cannot format or mention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from foreshock_server.notify.channel import Answer, NotDelivered
from foreshock_server.notify.message import AlertFacts, Message
from foreshock_server.notify.post import post_json
from foreshock_server.notify.reach import Way
from foreshock_server.notify.wording import Look, about, advice, clip, facts, headline, link, link_words, look

HEADER_LIMIT = 150  # characters of a header's text
TEXT_LIMIT = 3000  # of a section's text
FIELD_LIMIT = 2000  # of a field's text; a section has at most ten
WORDS_LIMIT = 1900  # of what an image says to whoever does not see it; Slack takes 2,000


class Slack:
    """An incoming webhook.

    It answers `ok` and no message id, so Slack lets nobody thread behind its messages or change them (slack_bot.py can): a
    resolution is a message of its own, a repeated try may show twice, and it never shows nowhere.
    """

    def __init__(self, url: str, way: Way) -> None:
        self._url = url
        self._way = way

    def send(self, message: Message, delivery_id: str) -> Answer:
        """One POST; the id goes along as a header for receivers that imitate Slack."""

        def post(payload: dict[str, Any]) -> Answer:
            return post_json(self._url, payload, self._way, {"webhook-id": delivery_id})

        return with_or_without_picture(message, post)


def with_or_without_picture(message: Message, post: Callable[[dict[str, Any]], Answer]) -> Answer:
    """Slack fetches the picture before it takes the message, and refuses all of it when it cannot: then it goes without."""
    try:
        return post(blocks(message))
    except NotDelivered as problem:
        if message.image is None or not problem.refused:
            raise
    return post(blocks(message, picture=False))


def blocks(message: Message, *, picture: bool = True, now: Message | None = None) -> dict[str, Any]:
    """What Slack draws: a headline, then a coloured attachment with what happened, the chart, the numbers, what to try, the link.

    `now`: what is the case meanwhile; then headline and colour say that.
    """
    alert = message.alert
    shown: Look = look(now or message)
    title = clip(headline(now or message), HEADER_LIMIT)
    details: list[dict[str, Any]] = []
    if alert.message:
        details.append(_section(escape(alert.message, TEXT_LIMIT)))
    if picture and message.chart is not None and message.image is not None:
        words = clip(message.chart.words, WORDS_LIMIT)
        details.append({"type": "image", "image_url": message.image, "alt_text": words})
    fields = [
        {"type": "mrkdwn", "text": f"*{escape(name, 200)}*\n{escape(fact, FIELD_LIMIT - 300)}"}
        for name, fact in facts(message)
    ]
    if fields:
        details.append({"type": "section", "fields": fields})
    if message.type != "alert.resolved":
        details.extend(_section(words) for words in _runbook(alert))
    details.append(_link(message))
    glance = f"{title} · {about(message)}" + (f": {alert.message}" if alert.message else "")
    return {
        "text": escape(glance, TEXT_LIMIT),  # all that a phone's lock screen shows
        "blocks": [{"type": "header", "text": {"type": "plain_text", "text": title, "emoji": True}}],
        "attachments": [{"color": shown.colour, "fallback": escape(title, TEXT_LIMIT), "blocks": details}],
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


def _runbook(alert: AlertFacts) -> list[str]:
    written = []
    if alert.runbook.meaning:
        written.append("*What it means*\n" + escape(alert.runbook.meaning, TEXT_LIMIT - 100))
    lines = [
        f"• {escape(text, 600)}" + (f" _({escape(source, 250)})_" if source else "")
        for text, source in advice(alert)
    ]
    if lines:
        written.append("*What to try*\n" + "\n".join(lines))
    return written


def _section(words: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": words}}


def _link(message: Message) -> dict[str, Any]:
    """A link in the text and no button: a button calls an app back, and an incoming webhook has none."""
    words = f"<{escape(link(message), 2000)}|{link_words(message)}>"
    if message.type != "channel.test":
        words += f" · rule {escape(message.alert.rule, 200)} · {message.alert.severity}"
    if message.incident is not None and message.incident.acknowledge is not None:
        words += f" · <{escape(message.incident.acknowledge, 600)}|Acknowledge>"
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": words}]}
