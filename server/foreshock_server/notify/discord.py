"""Message -> an embed for a Discord webhook, within Discord's limits; user text can neither format nor mention."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from foreshock_server.notify.channel import Answer
from foreshock_server.notify.message import Message
from foreshock_server.notify.post import post_json
from foreshock_server.notify.reach import Way
from foreshock_server.notify.wording import advice, clip, facts, headline, link, look

TITLE_LIMIT = 256  # characters
TEXT_LIMIT = 1500  # of the description; Discord takes 4,096, but 6,000 for all of an embed together
NAME_LIMIT = 100  # of a field's name; Discord takes 256
FACT_LIMIT = 200  # of a short field's value
VALUE_LIMIT = 900  # of a long one; Discord takes 1,024

_MARKS = frozenset("\\*_~`|>[]()#<@:-")


class Discord:
    """A channel's webhook. It knows no message ids of ours, so a repeated try may show twice."""

    def __init__(self, url: str, way: Way) -> None:
        self._url = url
        self._way = way

    def send(self, message: Message, delivery_id: str) -> Answer:
        """One POST that waits until the message is there: without `wait` Discord says yes before it knows."""
        return post_json(_waiting(self._url), embed(message), self._way, {"webhook-id": delivery_id})


def embed(message: Message) -> dict[str, Any]:
    """One embed and no content; nobody is mentioned, whatever the text says."""
    alert = message.alert
    fields = [
        {"name": escape(name, NAME_LIMIT), "value": escape(fact, FACT_LIMIT), "inline": True}
        for name, fact in facts(message)
    ]
    if message.type != "alert.resolved":
        if alert.runbook.meaning:
            fields.append(_long("What it means", escape(alert.runbook.meaning, VALUE_LIMIT)))
        lines = [
            f"• {escape(text, 200)}" + (f" ({escape(source, 80)})" if source else "")
            for text, source in advice(alert)
        ]
        if lines:
            fields.append(_long("What to try", "\n".join(lines)))
    drawn = {
        "title": escape(headline(message), TITLE_LIMIT),
        "url": link(message)[:2000],
        "color": int(look(message).colour.removeprefix("#"), 16),
        "timestamp": message.at,
        "footer": {"text": clip(f"rule {alert.rule} · {alert.severity}", 200)},
        "fields": fields,
    }
    if message.image is not None:
        drawn["image"] = {"url": message.image}
    if alert.message:
        drawn["description"] = escape(alert.message, TEXT_LIMIT)
    return {"embeds": [drawn], "allowed_mentions": {"parse": []}}


def escape(words: str, limit: int) -> str:
    """Text in which Discord finds no formatting; cut to the limit without cutting an escape. Never empty."""
    room = limit - 1
    safe: list[str] = []
    for character in words.strip():
        written = f"\\{character}" if character in _MARKS else character
        if len(written) > room:
            return "".join(safe) + "…"
        safe.append(written)
        room -= len(written)
    return "".join(safe) or "–"


def _long(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "value": value, "inline": False}


def _waiting(url: str) -> str:
    parts = urlsplit(url)
    asked = {**dict(parse_qsl(parts.query)), "wait": "true"}
    return urlunsplit(parts._replace(query=urlencode(asked)))
