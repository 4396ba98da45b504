"""Message -> a JSON publication on an ntfy topic; the topic is the last part of the channel's address."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from foreshock_server.errors import Invalid
from foreshock_server.notify.channel import Answer
from foreshock_server.notify.message import Message
from foreshock_server.notify.post import post_json
from foreshock_server.notify.reach import Way
from foreshock_server.notify.wording import about, clip, cut_bytes, headline, link, link_words, plain

TITLE_LIMIT = 200  # characters
TEXT_BYTES = 4096  # of the message; a longer one would become an attachment

_TOPIC = re.compile(r"[-_A-Za-z0-9]{1,64}")
_TOKEN = re.compile(r"tk_[A-Za-z0-9]{1,100}")
_PRIORITIES = {"alert.resolved": 3, "channel.test": 3}  # of 1 to 5; others by severity
_TAGS = {"alert.resolved": "green_circle", "channel.test": "large_blue_circle"}


class Ntfy:
    """A topic at ntfy.sh or a server of one's own. It knows no message ids of ours, so a repeated try may show twice."""

    def __init__(self, url: str, secret: str | None, way: Way) -> None:
        self._server, self._topic = _split(url)
        self._secret = secret
        self._way = way

    def send(self, message: Message, delivery_id: str) -> Answer:
        """One POST to the server's root, as JSON asks for."""
        headers = {"webhook-id": delivery_id}
        if self._secret is not None:
            headers["authorization"] = f"Bearer {self._secret}"
        return post_json(self._server, publication(message, self._topic), self._way, headers)


def publication(message: Message, topic: str) -> dict[str, Any]:
    """Plain text: ntfy draws Markdown only when it is told to."""
    severity = message.alert.severity
    address = link(message)[:2000]
    return {
        **({} if message.image is None else {"attach": message.image, "filename": "chart.png"}),
        "topic": topic,
        "title": clip(f"{headline(message, emoji=False)} · {about(message)}", TITLE_LIMIT),
        "message": cut_bytes(plain(message) or headline(message, emoji=False), TEXT_BYTES),
        "priority": _PRIORITIES.get(message.type, 5 if severity == "critical" else 4),
        "tags": [_TAGS.get(message.type, "red_circle" if severity == "critical" else "orange_circle")],
        "click": address,
        "actions": [{"action": "view", "label": link_words(message), "url": address}],
    }


def checked_topic(url: str) -> str:
    """The address, if its last part can be a topic."""
    if not _TOPIC.fullmatch(_split(url)[1]) or urlsplit(url).query:
        raise Invalid(
            "The url of an ntfy channel ends with its topic, 1 to 64 letters, digits, - and _: https://ntfy.sh/my-long-topic",
            field="url",
        )
    return url


def checked_token(secret: str | None) -> str | None:
    """The access token, if there is one and it can be one."""
    if secret is not None and not _TOKEN.fullmatch(secret):
        raise Invalid(
            "The secret of an ntfy channel is an access token, tk_… as `ntfy token add` prints it; leave it out for an open topic.",
            field="secret",
        )
    return secret


def _split(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    above, _, topic = parts.path.rstrip("/").rpartition("/")
    return urlunsplit((parts.scheme, parts.netloc, f"{above}/", "", "")), topic
