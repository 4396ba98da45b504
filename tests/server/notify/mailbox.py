"""An SMTP server on loopback, written from RFC 5321, 3207 and 4954: it keeps what it gets and answers as it was told to."""

from __future__ import annotations

import base64
import email
import email.policy
import socketserver
import ssl
import threading
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

CERTIFICATE = Path(__file__).with_name("localhost.pem")


@dataclass
class Kept:
    sender: str
    to: list[str]
    data: bytes
    encrypted: bool
    login: tuple[str, str] | None

    @property
    def mail(self) -> EmailMessage:
        return cast(EmailMessage, email.message_from_bytes(self.data, policy=email.policy.default))


@dataclass
class Manners:
    """How it behaves: `tls` is start, whole or off; the others are words or addresses and the line that answers them."""

    tls: str = "start"
    password: str | None = None
    says: dict[str, str] = field(default_factory=dict)
    stalls_at: str | None = None  # it says nothing more from this word on


class Mailbox:
    """Runs until it is closed."""

    def __init__(self, manners: Manners) -> None:
        self.kept: list[Kept] = []
        self.heard: list[str] = []
        self.ending = threading.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    if manners.tls == "whole":
                        self._encrypt()
                    self._talk()
                except OSError:
                    pass  # the client is gone

            def _encrypt(self) -> None:
                self.connection = context.wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)

            def _say(self, line: str) -> None:
                self.wfile.write(line.encode() + b"\r\n")

            def _talk(self) -> None:
                sender, to, login, encrypted = "", list[str](), None, manners.tls == "whole"
                self._say("220 mailbox.test ready")
                while line := self.rfile.readline().decode().strip():
                    word, _, rest = line.partition(" ")
                    outer.heard.append(word.upper())
                    if manners.stalls_at == word.upper():
                        outer.ending.wait(60)
                        return
                    about = rest.partition(":")[2].split(" ")[0].strip("<>")
                    said = manners.says.get(word.upper()) or manners.says.get(about)
                    if said is not None and word.upper() != "DATA":
                        self._say(said)
                    elif word.upper() == "EHLO":
                        offers = ["mailbox.test"]
                        offers += ["STARTTLS"] if manners.tls == "start" and not encrypted else []
                        offers += ["AUTH PLAIN"] if manners.password and encrypted else []
                        for offer in offers[:-1]:
                            self._say(f"250-{offer}")
                        self._say(f"250 {offers[-1]}")
                    elif word.upper() == "STARTTLS":
                        self._say("220 go ahead")
                        self._encrypt()
                        encrypted = True
                    elif word.upper() == "AUTH":
                        _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
                        login = (user, password)
                        self._say("235 welcome" if password == manners.password else f"535 not {password}")
                    elif word.upper() == "MAIL":
                        sender = about
                        self._say("250 ok")
                    elif word.upper() == "RCPT":
                        to.append(about)
                        self._say("250 ok")
                    elif word.upper() == "DATA":
                        self._say("354 go on")
                        lines = []
                        while (got := self.rfile.readline()) != b".\r\n":
                            lines.append(got[1:] if got.startswith(b"..") else got)
                        if said is None:
                            outer.kept.append(Kept(sender, to, b"".join(lines), encrypted, login))
                        self._say(said or "250 2.0.0 queued as 4F1A")
                    elif word.upper() == "QUIT":
                        self._say("221 bye")
                        return
                    else:
                        self._say("502 what?")

        self._server: Any = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
