"""Message -> an Adaptive Card for a Microsoft Teams workflow ("when a webhook request is received"), within Teams' size."""

from __future__ import annotations

from typing import Any

from foreshock_server.notify.channel import Answer
from foreshock_server.notify.message import Message
from foreshock_server.notify.post import encoded, post_json
from foreshock_server.notify.reach import Way
from foreshock_server.notify.wording import about, advice, clip, cut, facts, headline, link, link_words

MOST_BYTES = 24_000  # Teams takes 28 KB, and counts more than what we send
_COLOURS = {"alert.fired": "attention", "alert.escalated": "attention", "alert.resolved": "good"}


class Teams:
    """A workflow's address. It answers 202 before the card is drawn, so what Teams thinks of the card is seen only there."""

    def __init__(self, url: str, way: Way) -> None:
        self._url = url
        self._way = way

    def send(self, message: Message, delivery_id: str) -> Answer:
        """One POST of one card."""
        return post_json(self._url, card(message), self._way, {"webhook-id": delivery_id})


def card(message: Message) -> dict[str, Any]:
    """The message that the workflow posts; what is too long for Teams is cut more and more until it fits."""
    for room in (3000, 1000, 300, 100):
        drawn = _drawn(message, room)
        if len(encoded(drawn)) <= MOST_BYTES:
            break
    return drawn


def _drawn(message: Message, room: int) -> dict[str, Any]:
    alert = message.alert
    colour = "warning" if alert.severity == "warning" else "attention"
    if message.type != "alert.fired":
        colour = _COLOURS.get(message.type, "accent")
    body: list[dict[str, Any]] = [
        _line(_run(clip(headline(message), 200), size="large", weight="bolder", color=colour)),
        _line(_run(clip(about(message), 200), isSubtle=True), spacing="none"),
    ]
    if alert.message:
        body.append(_line(_run(cut(alert.message, room))))
    body += [
        _line(
            _run(f"{clip(name, 100)}: ", weight="bolder"), _run(clip(fact, min(room, 500))), spacing="small"
        )
        for name, fact in facts(message)[1:]  # the run is said above
    ]
    if message.chart is not None and message.image is not None:
        words = clip(message.chart.words, 300)
        body.append({"type": "Image", "url": message.image, "altText": words, "size": "stretch"})
    if message.type != "alert.resolved":
        if alert.runbook.meaning:
            body += [
                _line(_run("What it means", weight="bolder")),
                _line(_run(cut(alert.runbook.meaning, room))),
            ]
        told = advice(alert)
        if told:
            body.append(_line(_run("What to try", weight="bolder")))
        for text, source in told:
            where = [_run(f" ({cut(source, min(room, 250))})", italic=True)] if source else []
            body.append(_line(_run(f"• {cut(text, min(room, 600))}"), *where, spacing="small"))
    if message.type != "channel.test":
        body.append(_line(_run(f"rule {clip(alert.rule, 100)} · {alert.severity}", isSubtle=True)))
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "fallbackText": clip(f"{headline(message)} · {about(message)}", 300),
        "body": body,
        "actions": [{"type": "Action.OpenUrl", "title": link_words(message), "url": link(message)[:2000]}],
    }
    return {
        "type": "message",
        "attachments": [
            {
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": None,
                "content": content,
            }
        ],
    }


def _line(*runs: dict[str, Any], spacing: str = "default") -> dict[str, Any]:
    """Rich text rather than a TextBlock: in that, and in a FactSet, words of users would be Markdown."""
    return {"type": "RichTextBlock", "spacing": spacing, "inlines": list(runs)}


def _run(words: str, **style: Any) -> dict[str, Any]:
    return {"type": "TextRun", "text": words or "–", **style}
