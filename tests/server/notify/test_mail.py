"""E-mail: through a real SMTP server, encrypted or refused, one thread per trouble, and the password nowhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from tests.server.notify.mailbox import CERTIFICATE, Mailbox, Manners

from foreshock_server.errors import Invalid
from foreshock_server.models import Channel
from foreshock_server.notify.channel import NotDelivered
from foreshock_server.notify.kinds import checked_config, open_channel
from foreshock_server.notify.mail import Mail, route_of
from foreshock_server.notify.message import message_of
from foreshock_server.notify.reach import Way

PEOPLE = "from=foreshock@example.org&to=oncall@example.org&to=lead@example.org"
PASSWORD = "correct-horse-battery"


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))


@pytest.fixture
def mailbox() -> Iterator[Callable[..., Mailbox]]:
    started: list[Mailbox] = []

    def start(**manners: object) -> Mailbox:
        started.append(Mailbox(Manners(**manners)))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def told(transition):
    return lambda kind="fired", **more: message_of(
        transition(kind, **more), None, None, "http://foreshock.test"
    )


def url_of(box: Mailbox, *, scheme: str = "smtp", more: str = "") -> str:
    return f"{scheme}://me@localhost:{box.port}?{PEOPLE}{more}"


@pytest.mark.parametrize(("tls", "scheme"), [("start", "smtp"), ("whole", "smtps")])
def test_a_mail_arrives_encrypted_with_text_and_html(mailbox, told, local, tls, scheme):
    box = mailbox(tls=tls, password=PASSWORD)
    answer = Mail(url_of(box, scheme=scheme), PASSWORD, local()).send(told(), "msg-1")
    assert (answer.status, answer.said) == (250, "2.0.0 queued as 4F1A")
    [kept] = box.kept
    assert (kept.encrypted, kept.login) == (True, ("me", PASSWORD))
    assert (kept.sender, kept.to) == ("foreshock@example.org", ["oncall@example.org", "lead@example.org"])
    mail = kept.mail
    assert mail["Subject"] == "🔴 Policy entropy is collapsing · / run-1"
    assert mail["To"] == "oncall@example.org, lead@example.org"
    assert mail["Message-ID"] == "<msg-1@example.org>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"]
    plain, html = (mail.get_body((kind,)).get_content() for kind in ("plain", "html"))
    for words in (
        "0.82 nat (now 38 % of it)",
        "Raise the upper clip to 0.28.",
        "http://foreshock.test/runs/run-1",
    ):
        assert words in plain
        assert words in html
    assert all(len(line) <= 998 for line in kept.data.split(b"\r\n"))


def test_what_is_said_about_one_trouble_is_one_thread_and_a_repeat_is_the_same_mail(mailbox, told, local):
    box = mailbox()
    way = Mail(url_of(box), None, local())
    for kind, number in (("fired", "a"), ("fired", "a"), ("resolved", "b")):
        way.send(told(kind), number)
    way.send(told(rule="another"), "c")
    mails = [kept.mail for kept in box.kept]
    assert [mail["Message-ID"].split("@")[0] for mail in mails] == ["<a", "<a", "<b", "<c"]
    threads = [mail["References"] for mail in mails]
    assert threads[0] == threads[1] == threads[2] != threads[3]


def test_words_of_users_are_neither_markup_nor_headers(mailbox, told, local, transition):
    box = mailbox()
    hostile = transition()
    hostile.detail = {
        "title": "a\r\nBcc: evil@example.org\r\n\r\n<b>",
        "message": "<script>x</script>\r\n.\r\nRSET\ud800",
    }
    Mail(url_of(box), None, local()).send(message_of(hostile, None, None, "http://f.test"), "msg-1")
    [kept] = box.kept
    assert kept.to == ["oncall@example.org", "lead@example.org"]
    assert kept.mail["Bcc"] is None
    assert "<script>" not in kept.mail.get_body(("html",)).get_content()
    assert box.heard[-1] == "QUIT"


def test_without_encryption_nothing_is_sent_unless_it_is_asked_for(mailbox, told, local):
    box = mailbox(tls="off")
    with pytest.raises(NotDelivered, match="it offers no encryption") as caught:
        Mail(url_of(box), None, local()).send(told(), "msg-1")
    assert caught.value.refused
    assert box.kept == []
    assert "AUTH" not in box.heard
    Mail(url_of(box, more="&tls=off"), None, local()).send(told(), "msg-1")
    assert not box.kept[0].encrypted


def test_a_certificate_that_nobody_trusts_ends_it(mailbox, told, local, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    for tls, scheme in (("start", "smtp"), ("whole", "smtps")):
        box = mailbox(tls=tls, password=PASSWORD)
        with pytest.raises(NotDelivered, match="certificate verify failed"):
            Mail(url_of(box, scheme=scheme), PASSWORD, local()).send(told(), "msg-1")
        assert box.kept == []
        assert "AUTH" not in box.heard


@pytest.mark.parametrize(
    ("says", "sentence", "refused"),
    [
        ({"MAIL": "550 5.7.1 not you"}, "localhost answered 550: 5.7.1 not you", True),
        ({"DATA": "451 4.3.0 later"}, "localhost answered 451: 4.3.0 later", False),
        ({"RCPT": "550 5.1.1 nobody"}, "localhost answered 550: 5.1.1 nobody", True),
        ({"RCPT": "450 4.2.0 greylisted"}, "localhost answered 450: 4.2.0 greylisted", False),
        ({"STARTTLS": "454 4.7.0 not now"}, "localhost answered 454: 4.7.0 not now", False),
    ],
)
def test_what_the_server_answers_decides_whether_it_is_tried_again(
    mailbox, told, local, says, sentence, refused
):
    box = mailbox(says=says)
    with pytest.raises(NotDelivered) as caught:
        Mail(url_of(box), None, local()).send(told(), "msg-1")
    assert str(caught.value) == sentence
    assert (caught.value.refused, caught.value.permanent) == (refused, False)
    assert caught.value.answer.status == int(next(iter(says.values()))[:3])
    assert box.kept == []


def test_one_recipient_that_is_refused_does_not_hold_the_others_and_is_named(mailbox, told, local):
    box = mailbox(says={"lead@example.org": "550 5.1.1 no such user"})
    answer = Mail(url_of(box), None, local()).send(told(), "msg-1")
    assert answer.said == "2.0.0 queued as 4F1A; not for lead@example.org: 550 5.1.1 no such user"
    assert box.kept[0].to == ["oncall@example.org"]


def test_a_wrong_password_is_refused_and_shown_nowhere(mailbox, told, local, caplog):
    box = mailbox(password="another")
    config = checked_config("email", url_of(box), PASSWORD)
    row = Channel(id="c", name="c", kind="email", config=config, enabled=True, origin="api", created_at=0.0)
    with pytest.raises(NotDelivered, match=r"localhost answered 535: not •••") as caught:
        open_channel(row, local()).send(told(), "msg-1")
    assert caught.value.refused
    assert PASSWORD not in caplog.text + str(caught.value) + str(caught.value.answer)


@pytest.mark.parametrize("word", ["EHLO", "STARTTLS", "MAIL", "DATA"])
def test_a_server_that_says_nothing_is_left_at_the_deadline(mailbox, told, local, word):
    box = mailbox(stalls_at=word)
    began = time.monotonic()
    with pytest.raises(NotDelivered, match="localhost did not answer within 1 s") as caught:
        Mail(url_of(box), None, local(1.0)).send(told(), "msg-1")
    assert time.monotonic() - began < 20.0
    assert not caught.value.refused


def test_a_server_in_a_private_network_is_not_reached_unless_allowed(mailbox, told):
    box = mailbox()
    with pytest.raises(NotDelivered, match="is not a public address"):
        Mail(url_of(box), None, Way()).send(told(), "msg-1")
    assert box.heard == []


def test_an_address_says_all_that_is_needed():
    route = route_of(
        "smtp://me%40example.org@mail.example.org?from=a@example.org&to=b@example.org,c@example.org"
    )
    assert (route.host, route.port, route.user, route.tls) == (
        "mail.example.org",
        587,
        "me@example.org",
        "start",
    )
    assert (route.sender, route.to) == ("a@example.org", ("b@example.org", "c@example.org"))
    assert route_of("smtps://mail.example.org?from=a@b.org&to=c@d.org").port == 465


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.org", "http://mail.example.org?from=a@b.org&to=c@d.org", "smtp://?from=a@b.org&to=c@d.org",
        "smtp://h", "smtp://h?from=a@b.org", "smtp://h?to=a@b.org", "smtp://h?from=a@b.org&to=", "smtp://h:0?from=a@b.org&to=c@d.org",
        "smtp://h:99999?from=a@b.org&to=c@d.org", "smtp://u:pw@h?from=a@b.org&to=c@d.org", "smtp://h?from=a@b.org&to=c@d.org&cc=e@f.org",
        "smtp://h?from=a@b.org&to=nobody", "smtp://h?from=a@b.org&to=a@b.org%0d%0aBcc:%20x@y.org", "smtp://h?from=a@b.org&from=c@d.org&to=e@f.org",
        "smtps://h?from=a@b.org&to=c@d.org&tls=off", "smtp://h?from=a@b.org&to=c@d.org&tls=maybe", "smtp://h/path?from=a@b.org&to=c@d.org",
        "smtp://h?from=a@b.org&to=" + ",".join(f"p{number}@x.org" for number in range(51)),
    ],
)  # fmt: skip
def test_an_address_that_says_too_little_or_too_much_is_refused(url):
    with pytest.raises(Invalid) as caught:
        checked_config("email", url, None)
    assert caught.value.extra["field"] == "url"


def test_a_password_does_not_travel_in_the_clear():
    with pytest.raises(Invalid, match="A password does not travel without encryption"):
        checked_config("email", f"smtp://h?{PEOPLE}&tls=off", PASSWORD)
