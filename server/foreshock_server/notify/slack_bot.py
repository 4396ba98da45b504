"""Message -> Slack by a bot's token: what follows about an incident goes into the thread of its first message, which takes on its colour."""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from foreshock_server.errors import Invalid
from foreshock_server.notify.channel import SHOWN, Answer, NotDelivered
from foreshock_server.notify.message import Message, Opening
from foreshock_server.notify.post import post_json
from foreshock_server.notify.reach import Way
from foreshock_server.notify.slack import blocks, with_or_without_picture

log = logging.getLogger(__name__)

POST = "/chat.postMessage"
UPDATE = "/chat.update"
EXAMPLE = "https://slack.com/api/chat.postMessage?channel=C0123456789"
TOGETHER = 25.0  # seconds for all calls of one send: less than the lease of a delivery
ANSWER_BYTES = 256 * 1024  # it repeats the message, and says at its end whether it took it

_TOKEN = re.compile(r"xox[bp]-[A-Za-z0-9-]{10,250}")
_CHANNEL = re.compile(r"[#A-Za-z0-9._-]{1,80}")
_RECEIPT = re.compile(r"([A-Z0-9]{1,30})/([0-9]{1,20}\.[0-9]{1,20})")
_ALOUD = ("alert.escalated", "alert.repeated")  # said in the channel too: in a thread nobody wakes up
_PASSING = (
    "accesslimited", "fatal_error", "internal_error", "ratelimited", "request_timeout", "service_unavailable", "team_added_to_org",
)  # fmt: skip
_NO_THREAD = ("cannot_reply_to_message", "message_not_found", "thread_not_found")


class SlackBot:
    """Slack's Web API. It knows no message ids of ours, so a repeated try may show twice."""

    def __init__(self, url: str, token: str, way: Way) -> None:
        self._api, self._room = _split(url)
        self._token = token
        self._way = way

    def send(self, message: Message, delivery_id: str) -> Answer:
        """The first message about an incident is one of the channel; the others answer it."""
        until = time.monotonic() + TOGETHER
        first = message.opening
        thread = _RECEIPT.fullmatch(first.receipt) if first is not None else None
        if first is None or thread is None:
            return self._post(message, {"channel": self._room}, delivery_id, until)
        room, at = thread.groups()
        behind = {"channel": room, "thread_ts": at, "reply_broadcast": message.type in _ALOUD}
        try:
            answer = self._post(message, behind, delivery_id, until)
        except _Refused as problem:
            if problem.error not in _NO_THREAD:
                raise
            return self._post(message, {"channel": self._room}, delivery_id, until)
        self._recolour(first, message, {"channel": room, "ts": at}, delivery_id, until)
        return answer

    def _post(self, message: Message, where: dict[str, Any], delivery_id: str, until: float) -> Answer:
        def post(payload: dict[str, Any]) -> Answer:
            quiet = {"unfurl_links": False, "unfurl_media": False}
            return self._call(POST, {**payload, **where, **quiet}, delivery_id, until)

        return with_or_without_picture(message, post)

    def _recolour(
        self, first: Opening, now: Message, where: dict[str, Any], delivery_id: str, until: float
    ) -> None:
        """What the channel shows at a glance is how it stands now. The message itself has arrived, so nothing here can fail it."""

        def change(payload: dict[str, Any]) -> Answer:
            return self._call(UPDATE, {**payload, **where}, delivery_id, until)

        told = first.message
        try:
            try:
                change(blocks(told, now=now))
            except _Refused:
                change(blocks(told, now=now, picture=False))
        except NotDelivered as problem:
            log.info("the first message of %s keeps its colour: %s", now.thread, problem)

    def _call(self, method: str, payload: dict[str, Any], delivery_id: str, until: float) -> Answer:
        """Slack answers 200 whatever it thinks; `ok` says whether it did it."""
        headers = {"authorization": f"Bearer {self._token}", "webhook-id": delivery_id}
        way = replace(self._way, deadline=min(self._way.deadline, max(0.1, until - time.monotonic())))
        answer = post_json(self._api + method, payload, way, headers, read=ANSWER_BYTES)
        try:
            told = json.loads(answer.body)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise NotDelivered(
                "the answer is not one of Slack's API; is the url right?", refused=True, answer=answer
            )
        if told.get("ok") is not True:
            raise _Refused(str(told.get("error"))[:SHOWN], answer)
        return Answer(answer.status, "ok", f"{told.get('channel')}/{told.get('ts')}")


class _Refused(NotDelivered):
    """Slack did not do it."""

    def __init__(self, error: str, answer: Answer) -> None:
        super().__init__(f"Slack answered {error}", refused=error not in _PASSING, answer=answer)
        self.error = error


def is_api(url: str) -> bool:
    """True for the address of Slack's API, false for that of a webhook."""
    return urlsplit(url).path.endswith(POST)


def checked_bot(url: str, token: str | None) -> str:
    """The token, if a bot can post with it to that address; Invalid says what to write instead."""
    if not is_api(url):
        raise Invalid(
            f"A slack channel's incoming webhook has no secret of its own: its url is the secret. To post as a bot, write {EXAMPLE} and its token.",
            field="secret",
        )
    asked = parse_qs(urlsplit(url).query)
    if (
        list(asked) != ["channel"]
        or len(asked["channel"]) != 1
        or not _CHANNEL.fullmatch(asked["channel"][0])
    ):
        raise Invalid(f"The url of a slack bot names one channel by its id: {EXAMPLE}", field="url")
    if token is None or not _TOKEN.fullmatch(token):
        raise Invalid(
            "A slack channel that posts as a bot needs as its secret the bot's token, xoxb-…, with the scope chat:write.",
            field="secret",
        )
    return token


def _split(url: str) -> tuple[str, str]:
    """The address of the API, and the channel."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix(POST)}", parse_qs(parts.query)[
        "channel"
    ][0]
