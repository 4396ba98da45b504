"""Message -> an e-mail through an SMTP server, encrypted; what is said about one rule in one run makes one thread."""

from __future__ import annotations

import re
import smtplib
import socket
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from html import escape
from urllib.parse import parse_qs, unquote, urlsplit

from foreshock_server.errors import Invalid
from foreshock_server.notify.channel import Answer, NotDelivered, sayable
from foreshock_server.notify.message import Message
from foreshock_server.notify.reach import Watchdog, Way, connect, secured
from foreshock_server.notify.wording import (
    about,
    advice,
    clip,
    facts,
    headline,
    link,
    link_words,
    look,
    plain,
)

PORTS = {"smtp": 587, "smtps": 465}
SUBJECT_LIMIT = 200  # characters
MOST_RECIPIENTS = 50
EXAMPLE = "smtp://me%40example.org@mail.example.org:587?from=foreshock@example.org&to=oncall@example.org"

_ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?"
)


@dataclass(frozen=True)
class Route:
    """What the address of an e-mail channel says."""

    host: str
    port: int
    user: str | None
    sender: str
    to: tuple[str, ...]
    tls: (
        str  # start: STARTTLS, and nothing without it; whole: from the first byte; off: none, and no password
    )


class Mail:
    """A server that takes mail. A repeated try has the same Message-ID, so most mailboxes show it once."""

    def __init__(self, url: str, secret: str | None, way: Way) -> None:
        self._route = route_of(url)
        self._secret = secret
        self._way = way

    def send(self, message: Message, delivery_id: str) -> Answer:
        """One mail to all recipients. A recipient that is refused while others are not is named in the answer."""
        route, watchdog = self._route, Watchdog(self._way.deadline)
        body = letter(message, delivery_id, route).as_bytes(policy=SMTP)
        with watchdog:
            try:
                answer = self._hand_over(body, watchdog)
            except smtplib.SMTPResponseException as error:
                if watchdog.barked:  # smtplib takes an answer that breaks off for one
                    raise NotDelivered(watchdog.sentence(error, route.host)) from error
                raise _refusal(route.host, error.smtp_code, error.smtp_error) from error
            except smtplib.SMTPNotSupportedError as error:
                raise NotDelivered(f"{route.host}: {error}", refused=True) from error
            except OSError as error:  # SMTPException is one
                raise NotDelivered(watchdog.sentence(error, route.host)) from error
        return answer

    def _hand_over(self, body: bytes, watchdog: Watchdog) -> Answer:
        route = self._route
        sock = connect(route.host, route.port, self._way, watchdog)
        server = _Server(secured(sock, route.host, watchdog) if route.tls == "whole" else sock, route)
        server.ehlo_or_helo_if_needed()
        if route.tls == "start":
            server.start_tls(watchdog)
        if self._secret is not None:
            server.login(route.user or route.sender, self._secret)
        _expect(server.mail(route.sender))
        refused = []
        for address in route.to:
            code, said = server.rcpt(address)
            if code not in (250, 251):
                refused.append((address, code, said))
        if len(refused) == len(route.to):
            raise _refusal(route.host, *refused[0][1:])
        code, said = _expect(server.data(body))
        try:
            server.quit()
        except OSError:
            pass  # it has the mail
        others = "".join(f"; not for {address}: {code} {sayable(why)}" for address, code, why in refused)
        return Answer(code, sayable(said) + others)


class _Server(smtplib.SMTP):
    """smtplib over a connection that is there already."""

    def __init__(self, sock: socket.socket, route: Route) -> None:
        super().__init__(local_hostname=socket.gethostname() or "localhost")
        self._host = route.host
        self.sock = sock
        _expect(self.getreply(), 220)

    def start_tls(self, watchdog: Watchdog) -> None:
        """STARTTLS, with a handshake that the watchdog can end; what was said in the clear is forgotten."""
        if not self.has_extn("starttls"):
            raise smtplib.SMTPNotSupportedError(
                "it offers no encryption (STARTTLS); use smtps:// if it encrypts from the start, "
                "or add tls=off to the url if the way to it is safe"
            )
        _expect(self.docmd("STARTTLS"), 220)
        assert self.sock is not None  # noqa: S101 (for the types)
        self.sock = secured(self.sock, self._host, watchdog)
        self.file = None
        self.ehlo_resp = self.helo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False
        self.ehlo_or_helo_if_needed()


def letter(message: Message, delivery_id: str, route: Route) -> EmailMessage:
    """Text, and the same as HTML."""
    domain = route.sender.rpartition("@")[2]
    mail = EmailMessage(policy=SMTP)
    mail["From"] = route.sender
    mail["To"] = ", ".join(route.to)
    mail["Subject"] = clip(f"{headline(message)} · {about(message)}", SUBJECT_LIMIT)
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{delivery_id}@{domain}>"
    # Nothing has this id: mail readers put together what refers to the same, whether they have it or not.
    mail["In-Reply-To"] = mail["References"] = f"<{message.thread}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # no holiday notices, please
    text = f"{plain(message)}\n\n{link_words(message)}: {link(message)}\n"
    mail.set_content(_sayable(text), cte="quoted-printable")
    png = message.chart.draw() if message.chart else None
    name = f"chart-{delivery_id}@{domain}"
    picture = "" if png is None or message.chart is None else _picture(name, message.chart.words)
    mail.add_alternative(_sayable(_html(message, picture)), subtype="html", cte="quoted-printable")
    if png is not None:
        html = mail.get_payload()[-1]  # type: ignore[index] # there are two now
        html.add_related(png, "image", "png", cid=f"<{name}>", disposition="inline", filename="chart.png")  # type: ignore[union-attr]
    return mail


def route_of(url: str) -> Route:
    """What the address says; Invalid says what to write instead."""
    try:
        parts = urlsplit(url)
        asked = parse_qs(parts.query, strict_parsing=True, max_num_fields=100)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        raise _wrong() from None
    to = tuple(
        address.strip() for given in asked.pop("to", []) for address in given.split(",") if address.strip()
    )
    sender, tls = asked.pop("from", []), asked.pop("tls", [])
    if parts.scheme not in PORTS or not host or port == 0 or parts.path.strip("/") or parts.fragment or asked:
        raise _wrong()
    if parts.password is not None:
        raise Invalid("Leave the password out of the url; it is the channel's secret.", field="url")
    if len(sender) != 1 or not 1 <= len(to) <= MOST_RECIPIENTS or tls not in ([], ["off"]):
        raise _wrong()
    for address in (*sender, *to):
        if not _ADDRESS.fullmatch(address):
            raise Invalid(
                f"{address!r} is no e-mail address; write one such as oncall@example.org.", field="url"
            )
    if tls and parts.scheme == "smtps":
        raise Invalid("smtps:// is encrypted from the first byte; write smtp:// with tls=off.", field="url")
    return Route(
        host=host,
        port=port or PORTS[parts.scheme],
        user=unquote(parts.username) if parts.username else None,
        sender=sender[0],
        to=to,
        tls="off" if tls else "whole" if parts.scheme == "smtps" else "start",
    )


def checked_password(url: str, secret: str | None) -> str | None:
    """The password, if this way may carry one."""
    if secret is not None and route_of(url).tls == "off":
        raise Invalid(
            "A password does not travel without encryption; leave out tls=off or the secret.", field="secret"
        )
    if secret is not None and not secret.isprintable():
        raise Invalid("The secret of an email channel is a password: printable characters.", field="secret")
    return secret


def _picture(name: str, words: str) -> str:
    """Where the attached picture stands in the text."""
    return f'<p><img src="cid:{escape(name)}" alt="{escape(words)}" width="480" style="max-width:100%;height:auto"></p>'


def _html(message: Message, picture: str = "") -> str:
    alert, told = message.alert, []
    told.append(
        f'<h2 style="border-left:6px solid {look(message).colour};padding-left:8px">{escape(headline(message))}</h2>'
    )
    if alert.message:
        told.append(f"<p>{escape(alert.message)}</p>")
    told.append(picture)
    rows = "".join(
        f'<tr><th align="left" style="padding-right:12px">{escape(name)}</th><td>{escape(fact)}</td></tr>'
        for name, fact in facts(message)
    )
    told.append(f"<table>{rows}</table>" if rows else "")
    if message.type != "alert.resolved":
        if alert.runbook.meaning:
            told.append(f"<h3>What it means</h3><p>{escape(alert.runbook.meaning)}</p>")
        lines = "".join(
            f"<li>{escape(text)}" + (f" <i>({escape(source)})</i>" if source else "") + "</li>"
            for text, source in advice(alert)
        )
        told.append(f"<h3>What to try</h3><ul>{lines}</ul>" if lines else "")
    told.append(f'<p><a href="{escape(link(message))}">{link_words(message)}</a></p>')
    return "<html><body>" + "\n".join(filter(None, told)) + "</body></html>\n"


def _sayable(text: str) -> str:
    """Half a surrogate pair is no text that a mail can hold."""
    return text.encode("utf-8", "replace").decode()


def _expect(reply: tuple[int, bytes], code: int = 250) -> tuple[int, bytes]:
    if reply[0] != code:
        raise smtplib.SMTPResponseException(*reply)
    return reply


def _refusal(host: str, code: int, said: bytes | str) -> NotDelivered:
    answer = Answer(code, sayable(said))
    return NotDelivered(f"{host} answered {code}: {answer.said}", refused=500 <= code < 600, answer=answer)


def _wrong() -> Invalid:
    return Invalid(
        f"The url of an email channel is smtp:// (STARTTLS) or smtps://, with from= and to=: {EXAMPLE}",
        field="url",
    )
