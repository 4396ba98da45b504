"""Message -> signed JSON POST, as Standard Webhooks describes it: id, timestamp and HMAC in three headers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable

from foreshock_server.errors import Invalid
from foreshock_server.notify.channel import Answer
from foreshock_server.notify.message import Message
from foreshock_server.notify.post import post
from foreshock_server.notify.reach import Way

_PREFIX = "whsec_"
_LEAST, _MOST = 24, 64  # bytes of a key, as the specification recommends


class Webhook:
    """Any receiver that speaks HTTP. A receiver recognises a repeated message by its `webhook-id`."""

    def __init__(self, url: str, secret: str, way: Way, clock: Callable[[], float] = time.time) -> None:
        self._url = url
        self._key = key_of(secret)
        self._way = way
        self._clock = clock

    def send(self, message: Message, delivery_id: str) -> Answer:
        """One signed POST; the timestamp is that of this try, since receivers refuse old ones."""
        body = json.dumps(message.payload(), allow_nan=False, ensure_ascii=False).encode()
        timestamp = int(self._clock())
        headers = {
            "content-type": "application/json",
            "user-agent": "foreshock",
            "webhook-id": delivery_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._key, delivery_id, timestamp, body),
        }
        return post(self._url, body, headers, self._way)


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`."""
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def new_secret() -> str:
    """A fresh signing secret in the form that receivers' libraries read."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The key inside `whsec_…`; Invalid says what to write instead."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not _LEAST <= len(key) <= _MOST:
        raise Invalid(
            f"The signing secret must be `{_PREFIX}` followed by {_LEAST} to {_MOST} random bytes in base64, such as "
            f"{_PREFIX}{base64.b64encode(bytes(_LEAST)).decode()} (but random). Leave it out and the server makes one.",
            field="secret",
        )
    return key
