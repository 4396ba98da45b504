"""stdin: one message for one Apprise address -> stdout: what became of it. Runs as a process of its own, with every connection checked."""

from __future__ import annotations

import ipaddress
import json
import logging
import socket
import sys
from typing import Any

from foreshock_server.notify.channel import NotDelivered
from foreshock_server.notify.reach import check_host

_INTERNET = (socket.AF_INET, socket.AF_INET6)


def main() -> None:
    """One message; the last line on stdout is {sent, refused, said}."""
    asked = json.loads(sys.stdin.read())
    private = tuple(ipaddress.ip_network(network) for network in asked["private"])
    refusals = guard_connections(private)
    heard = _Heard()
    logging.getLogger("apprise").addHandler(heard)
    try:
        from apprise import Apprise
    except ImportError:
        _say(False, True, "it is not installed; run: pip install 'foreshock[apprise]'")
        return
    sender = Apprise()
    if not sender.add(asked["url"]):
        _say(False, True, "it does not know such an address; see https://appriseit.com")
        return
    try:
        sent = sender.notify(
            title=asked["title"], body=asked["body"], notify_type=asked["kind"], body_format="text"
        )
    except Exception as error:  # noqa: BLE001 (a plugin's fault, told like its refusal)
        sent = False
        heard.lines.append(f"{type(error).__name__}: {error}")
    _say(bool(sent), bool(refusals), "" if sent else "; ".join((refusals or heard.lines)[-3:]))


def guard_connections(private: tuple[Any, ...]) -> list[str]:
    """From now on no socket of this process connects where a channel may not reach; what was refused is in the list.

    At the connection itself: whatever resolved the name, and whatever redirected, ends here with an address.
    """
    refusals: list[str] = []
    plain = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto")}

    def checked(name: str) -> Any:
        def reach(self: socket.socket, *words: Any) -> Any:
            if self.family not in _INTERNET:
                refusals.append("only the internet is within reach")
                raise PermissionError(refusals[-1])
            host, port, *_ = words[-1]
            where = socket.getaddrinfo(host, port, self.family)[0][4]  # a name too is looked up once, here
            try:
                check_host(str(where[0]), private)
            except NotDelivered as problem:
                refusals.append(str(problem))
                raise PermissionError(refusals[-1]) from None
            return plain[name](self, *words[:-1], where)

        return reach

    for name in plain:
        setattr(socket.socket, name, checked(name))
    return refusals


class _Heard(logging.Handler):
    """What Apprise says about why it did not send."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _say(sent: bool, refused: bool, said: str) -> None:
    sys.stdout.write(json.dumps({"sent": sent, "refused": refused, "said": said}) + "\n")


if __name__ == "__main__":
    main()
