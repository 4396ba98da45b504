"""Message -> one of the hundred-odd services that Apprise speaks to (`pip install 'foreshock[apprise]'`), in a process of its own.

Apprise connects by itself, wherever the service's plugin says, logs addresses that hold secrets, and has no deadline for
all of it. In a process of its own each connection is checked (apprise_child.py), what it logs is ours to cut, and it can be ended.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys

from foreshock_server.errors import Invalid
from foreshock_server.notify.channel import Answer, NotDelivered, sayable
from foreshock_server.notify.message import Message
from foreshock_server.notify.reach import Way
from foreshock_server.notify.wording import about, clip, cut, headline, link, link_words, plain

STARTING = 10.0  # seconds that the process may take beside the channel's own deadline
TEXT_LIMIT = 3000  # characters; each plugin cuts further, to what its service takes
CHILD = "foreshock_server.notify.apprise_child"
# They speak to the desktop or the log of the machine that the server runs on, and to nobody else.
LOCAL = ("dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows")

_SHAPE = re.compile(r"([a-z][a-z0-9.+-]{1,30})://\S+", re.I)
_KINDS = {"alert.resolved": "success", "channel.test": "info"}


class Apprise:
    """One Apprise address. None of its services knows our ids, so a repeated try may show twice."""

    def __init__(self, url: str, way: Way) -> None:
        self._url = url
        self._way = way

    def send(self, message: Message, delivery_id: str) -> Answer:
        """Start the process, hand it the message, and wait for what it says."""
        severity = "failure" if message.alert.severity == "critical" else "warning"
        asked = {
            "url": self._url,
            "title": clip(f"{headline(message)} · {about(message)}", 200),
            "body": cut(plain(message), TEXT_LIMIT) + f"\n\n{link_words(message)}: {link(message)}",
            "kind": _KINDS.get(message.type, severity),
            "private": [str(network) for network in self._way.private],
        }
        # Nothing of the server's settings, and no proxy, which would connect where we cannot see.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith("FORESHOCK") and not name.lower().endswith("_proxy")
        }
        limit = self._way.deadline + STARTING
        try:
            done = subprocess.run(  # noqa: S603 (our own module)
                [sys.executable, "-m", CHILD],
                input=json.dumps(asked),
                capture_output=True,
                text=True,
                timeout=limit,
                env=environment,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise NotDelivered(f"Apprise did not end within {limit:g} s") from error
        return _outcome(done.stdout, done.stderr)


def checked_address(url: str) -> str:
    """The address, if it has Apprise's shape and Apprise is there."""
    shape = _SHAPE.fullmatch(url)
    if shape is None or shape[1].lower() in LOCAL:
        raise Invalid(
            "The url of an apprise channel is an address as https://appriseit.com lists them, such as tgram://TOKEN/CHAT.",
            field="url",
        )
    if importlib.util.find_spec("apprise") is None:
        raise Invalid(
            "Apprise is not installed where the server runs; run there: pip install 'foreshock[apprise]'",
            field="kind",
        )
    return url


def masked_address(url: str) -> str:
    """Which service, and nothing of its address: any part of it may be a secret."""
    return url.split("://", 1)[0] + "://…"


def _outcome(said: str, complaints: str) -> Answer:
    try:
        outcome = json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError):
        last = (complaints.strip().splitlines() or ["it said nothing"])[-1]
        raise NotDelivered(f"Apprise could not run: {sayable(last)}") from None
    answer = Answer(None, sayable(str(outcome["said"])))
    if not outcome["sent"]:
        raise NotDelivered(
            f"Apprise: {answer.said or 'not sent'}", refused=bool(outcome["refused"]), answer=answer
        )
    return answer
