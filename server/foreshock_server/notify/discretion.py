"""What a receiver says, told without the secrets of its channel: receivers repeat what they were sent, and logs are read by many."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from foreshock_server.notify.channel import Answer, Channel, NotDelivered
from foreshock_server.notify.message import Message

log = logging.getLogger(__name__)

HIDDEN = "•••"
LEAST = 8  # characters of a part of an address that is taken for a secret; shorter ones are words


class Discreet:
    """A channel whose answers and errors name no secret of it. A fault of ours in it becomes an error like others."""

    def __init__(self, channel: Channel, config: Mapping[str, Any]) -> None:
        self._channel = channel
        self._secrets = secrets_of(config)

    def send(self, message: Message, delivery_id: str) -> Answer:
        """As the channel does."""
        try:
            answer = self._channel.send(message, delivery_id)
            return Answer(answer.status, self._hide(answer.said), answer.receipt)
        except NotDelivered as problem:
            said = problem.answer and Answer(problem.answer.status, self._hide(problem.answer.said))
            raise NotDelivered(
                self._hide(str(problem)),
                retry_after=problem.retry_after,
                permanent=problem.permanent,
                refused=problem.refused,
                answer=said,
            ) from None
        except Exception as error:  # noqa: BLE001 (a fault in one channel must not stop the others; it is logged, its secrets hidden)
            told = self._hide("".join(traceback.format_exception(error)))
            log.error("our fault, while sending %s: %s", delivery_id, told)
            raise NotDelivered(
                f"a fault of Foreshock's ({type(error).__name__}); the server's log has it"
            ) from None

    def _hide(self, words: str) -> str:
        for secret in self._secrets:
            words = words.replace(secret, HIDDEN)
        return words


def secrets_of(config: Mapping[str, Any]) -> list[str]:
    """What nobody may read, the longest first: the secret itself, and of the address all behind its host but short words."""
    found = {str(config["secret"])} if config.get("secret") else set()
    url = str(config.get("url", ""))
    parts = urlsplit(url)
    pieces = [parts.path, parts.query, *re.split(r"[/?&=#]", f"{parts.path}?{parts.query}")]
    if parts.scheme not in (
        "http",
        "https",
        "smtp",
        "smtps",
    ):  # of Apprise: where others have a host, it has tokens
        pieces += [parts.netloc, *re.split(r"[:@]", parts.netloc)]
    found |= {piece for piece in pieces if len(piece) >= LEAST}
    if parts.scheme in ("smtp", "smtps"):  # its address holds people, and its secret is apart
        found = {str(config["secret"])} if config.get("secret") else set()
    return sorted({*found, *map(unquote, found)}, key=len, reverse=True)
