"""Message -> an event of PagerDuty's Events API v2: one incident per run and rule, triggered, and resolved by the same key."""

from __future__ import annotations

import re
from typing import Any

from foreshock_server.errors import Invalid
from foreshock_server.notify.channel import Answer
from foreshock_server.notify.message import Message
from foreshock_server.notify.post import post_json
from foreshock_server.notify.reach import Way
from foreshock_server.notify.wording import about, clip, facts, headline, link, link_words, plain

URL = "https://events.pagerduty.com/v2/enqueue"  # in Europe: https://events.eu.pagerduty.com/v2/enqueue
SUMMARY_LIMIT = 1024  # characters
DETAILS_LIMIT = 10_000  # characters of the text; PagerDuty takes 512 KB in all

_KEY = re.compile(r"[0-9A-Za-z]{32}")


class PagerDuty:
    """An integration of a service. A repeated try has the same key, so it opens nothing twice."""

    def __init__(self, url: str, secret: str, way: Way) -> None:
        self._url = url
        self._secret = secret
        self._way = way

    def send(self, message: Message, delivery_id: str) -> Answer:
        """One event, of a digest one per message in it, or nothing could be closed. A test opens an incident and closes it at once."""
        sent = {"webhook-id": delivery_id}
        for part in message.parts or (message,):
            answer = post_json(self._url, event(part, self._secret), self._way, sent)
        if message.type == "channel.test":
            answer = post_json(self._url, event(message, self._secret, over=True), self._way, sent)
        return answer


def event(message: Message, routing_key: str, *, over: bool = False) -> dict[str, Any]:
    """`trigger` when it fires or gets worse, `resolve` when it is over."""
    alert = message.alert
    told: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "resolve" if over or message.type == "alert.resolved" else "trigger",
        "dedup_key": message.thread,
    }
    if told["event_action"] == "resolve":
        return told
    summary = f"{headline(message, emoji=False)} · {about(message)}"
    if alert.message:
        summary += f": {alert.message}"
    if message.image is not None and message.image.startswith("https:"):  # it takes no other
        told["images"] = [{"src": message.image, "href": link(message)[:2000], "alt": clip(summary, 200)}]
    severity = "critical" if alert.severity == "critical" else "warning"
    return {
        **told,
        "client": "Foreshock",
        "client_url": link(message)[:2000],
        "links": [{"href": link(message)[:2000], "text": link_words(message)}],
        "payload": {
            "summary": clip(summary, SUMMARY_LIMIT),
            "source": clip(about(message), 200),
            "severity": "info" if message.type == "channel.test" else severity,
            "timestamp": message.at,
            "component": clip(alert.series or alert.statistic or alert.rule, 200),
            "group": clip(message.run.project, 200) or "–",
            "class": clip(alert.rule, 200),
            "custom_details": {
                **{clip(name, 100): clip(fact, 500) for name, fact in facts(message)},
                "Details": plain(message)[:DETAILS_LIMIT],
            },
        },
    }


def checked_key(secret: str | None) -> str:
    """The integration key, if it can be one; Invalid says where to find it."""
    if secret is None or not _KEY.fullmatch(secret):
        raise Invalid(
            "A pagerduty channel needs as its secret the integration key of a service (Events API v2): 32 letters and digits.",
            field="secret",
        )
    return secret
