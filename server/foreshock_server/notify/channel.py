"""Carries one message to one receiver; raises NotDelivered when it could not, with the only answer its caller needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from foreshock_server.notify.message import Message

SHOWN = 200  # characters of a receiver's answer that are kept and repeated


@dataclass(frozen=True)
class Answer:
    """What a receiver said when it was sent something."""

    status: int | None = None  # of HTTP or SMTP; None: the protocol has none
    said: str = ""  # the beginning
    receipt: str | None = (
        None  # the name by which the message can be answered or changed there, if it has one
    )
    body: bytes = field(default=b"", repr=False)  # as far as it was read; for the channel itself


def sayable(answer: bytes | str) -> str:
    """The beginning of an answer on one line, without what a terminal would obey."""
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    line = " ".join(text.split())
    return "".join(character for character in line if character.isprintable())[:SHOWN]


class NotDelivered(Exception):
    """The receiver does not have the message."""

    def __init__(
        self,
        sentence: str | None = None,
        *,
        retry_after: float | None = None,
        permanent: bool = False,
        refused: bool = False,
        answer: Answer | None = None,
    ) -> None:
        super().__init__(sentence or self.__doc__)
        self.retry_after = retry_after  # seconds the receiver asked for
        self.permanent = permanent  # trying again cannot help
        self.refused = refused  # the receiver said no: a few more tries, in case it is being deployed
        self.answer = answer  # None: it said nothing


class Channel(Protocol):
    """One way to a receiver."""

    def send(self, message: Message, delivery_id: str) -> Answer:
        """Return when the receiver has taken it. The id is the same on every try of the same message."""


class MemoryChannel:
    """Keeps what it is sent, for tests; raises the errors it was given first, one per send."""

    def __init__(self, *errors: NotDelivered) -> None:
        self.sent: list[tuple[str, Message]] = []
        self.tried: list[str] = []
        self._errors = list(errors)

    def send(self, message: Message, delivery_id: str) -> Answer:
        self.tried.append(delivery_id)
        if self._errors:
            raise self._errors.pop(0)
        self.sent.append((delivery_id, message))
        return Answer(200, "ok")
