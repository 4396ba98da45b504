"""The key and what is derived from it: comparisons in constant time, a cookie that expires and that only the key can make."""

from __future__ import annotations

import hashlib
import hmac

COOKIE = "foreshock_session"
LIFETIME = 30 * 24 * 3600  # seconds


def same_key(key: str, offered: str) -> bool:
    """True when both are the same, in a time that says nothing about where they differ."""
    return hmac.compare_digest(key.encode(), offered.encode("utf-8", "surrogateescape"))


def make_cookie(key: str, now: float) -> str:
    """`<expiry>.<signature>`: needs no table, and dies with the key."""
    expiry = str(int(now) + LIFETIME)
    return f"{expiry}.{_sign(key, expiry)}"


def cookie_holds(key: str, cookie: str, now: float) -> bool:
    """True when the cookie was made with this key and has not expired."""
    expiry, _, signature = cookie.partition(".")
    if not (expiry.isascii() and expiry.isdigit() and len(expiry) < 20):
        return False
    return same_key(_sign(key, expiry), signature) and now < int(expiry)


def _sign(key: str, expiry: str) -> str:
    return hmac.new(
        key.encode(), f"foreshock page session until {expiry}".encode(), hashlib.sha256
    ).hexdigest()
