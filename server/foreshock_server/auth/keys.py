"""Secrets -> what is kept of them. A key is `fsk_<id>_<secret>`; a page session is a random token in a cookie.

Both are random and long, so one round of sha256 is enough: there is nothing to guess that a slow hash would protect.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from typing import NamedTuple

COOKIE = "foreshock_session"
LIFETIME = 30 * 24 * 3600  # seconds
SETTINGS = "settings"  # what the key of FORESHOCK_API_KEY is called

_LETTERS = string.ascii_letters + string.digits  # 43 of 62 signs: 256 bits, and one word to a double click
_KEY = re.compile(r"fsk_([a-z0-9]{12})_([A-Za-z0-9]{43})")


class Minted(NamedTuple):
    """A new key: `text` is shown once, `id` and `digest` are kept."""

    id: str
    digest: str
    text: str


def mint() -> Minted:
    """A key that nobody had before."""
    key_id = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(12))
    secret = "".join(secrets.choice(_LETTERS) for _ in range(43))
    return Minted(key_id, digest(secret), f"fsk_{key_id}_{secret}")


def read_key(text: str) -> tuple[str, str] | None:
    """(id, secret) of what looks like a key."""
    match = _KEY.fullmatch(text)
    return (match[1], match[2]) if match else None


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def same(kept: str, offered: str) -> bool:
    """True when both are the same, in a time that says nothing about where they differ."""
    return hmac.compare_digest(
        kept.encode("utf-8", "surrogateescape"), offered.encode("utf-8", "surrogateescape")
    )


def new_token() -> str:
    """What the cookie of a new page session holds."""
    return secrets.token_urlsafe(32)


def settings_digest(token: str, settings_key: str) -> str:
    """What is kept of a session opened with the key of the settings: without that key nobody can find it again.

    (The plain digest of such a key would be worth guessing at: it may be short. This one needs the token as well.)
    """
    return hmac.new(token.encode("utf-8", "surrogateescape"), settings_key.encode(), "sha256").hexdigest()
