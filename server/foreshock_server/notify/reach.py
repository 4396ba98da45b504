"""A host's name -> a connected socket at an address that was checked, ended at its deadline, whatever the other side does."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from dataclasses import dataclass

from foreshock_server.notify.channel import NotDelivered

DEADLINE = 10.0  # seconds for everything: resolving, connecting, TLS, sending, the answer
CONNECT = 5.0  # for one address
SETTING = "FORESHOCK_PRIVATE_TARGETS"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
EVERYWHERE: tuple[Network, ...] = (ipaddress.IPv4Network("0.0.0.0/0"), ipaddress.IPv6Network("::/0"))

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class Way:
    """How far and for how long a channel may reach. The public internet is always within reach."""

    deadline: float = DEADLINE
    private: tuple[Network, ...] = ()  # networks that are not public, and allowed nevertheless


def may_reach(address: Address, private: tuple[Network, ...]) -> bool:
    """True for a public address, and for one in an allowed network; what an IPv6 address wraps counts like itself."""
    if any(address in network for network in private):
        return True
    inner = _wrapped(address)
    if inner is not None:
        return may_reach(inner, private)
    return address.is_global and not address.is_multicast


def check_host(host: str, private: tuple[Network, ...]) -> None:
    """NotDelivered when the host is written as an address, or as `localhost`, that must not be reached. Asks no name server."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        name = "127.0.0.1"
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return
    if not may_reach(address, private):
        raise _off_limits(host, str(address))


def connect(host: str, port: int, way: Way, watchdog: Watchdog) -> socket.socket:
    """A connection whose every byte the watchdog can end.

    The name is resolved once and every address it has is checked; the connection goes to one of those, so a name server that
    answers differently the next time (DNS rebinding) moves nothing.
    """
    problem: OSError = ConnectionError("the name has no address")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, where in found:
        if not may_reach(ipaddress.ip_address(where[0]), way.private):
            raise _off_limits(host, str(where[0]))
    for family, kind, protocol, _, where in found:
        sock = socket.socket(family, kind, protocol)
        try:
            watchdog.guard(sock)
            sock.settimeout(min(CONNECT, way.deadline))
            sock.connect(where)
        except OSError as error:
            sock.close()
            problem = error
            continue
        sock.settimeout(way.deadline)
        return sock
    raise problem


def secured(sock: socket.socket, host: str, watchdog: Watchdog) -> ssl.SSLSocket:
    """The same connection through TLS; the certificate must be trusted and name the host."""
    context = ssl.create_default_context()
    wrapped = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    watchdog.guard(wrapped)
    wrapped.do_handshake()
    return wrapped


class Watchdog:
    """Ends a connection at the deadline: socket timeouts start anew with each byte, so a dripping answer passes them."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.barked = False
        self._sock: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(deadline, self._bark)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def guard(self, sock: socket.socket) -> None:
        """The socket to end; TimeoutError if it is too late already, since resolving a name has no limit of its own."""
        with self._lock:
            self._sock = sock
            if self.barked:
                raise TimeoutError

    def sentence(self, error: Exception | None, host: str | None) -> str:
        """What went wrong, with the host and without the path, which may be a secret."""
        behind = (
            None if error is None else error.__context__
        )  # smtplib tells of a timeout as of a lost connection
        if (
            self.barked
            or error is None
            or isinstance(error, TimeoutError)
            or isinstance(behind, TimeoutError)
        ):
            return f"{host} did not answer within {self.deadline:g} s"
        return f"{host}: {str(error) or type(error).__name__}"

    def _bark(self) -> None:
        with self._lock:
            self.barked = True
            if self._sock is None:
                return
            try:
                # The plain method: SSLSocket's own also drops its state under the feet of the thread that reads.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
            except OSError:
                pass  # not connected any more

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            if self._sock is not None:
                self._sock.close()


def _wrapped(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, 6to4, Teredo or NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def _off_limits(host: str, address: str) -> NotDelivered:
    where = f" ({address})" if address != host else ""
    return NotDelivered(
        f"{host}{where} is not a public address, and channels may reach those only; if it is meant, "
        f"start the server with {SETTING}={address} (networks such as 10.1.0.0/16, or all)",
        refused=True,
    )
