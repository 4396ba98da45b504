"""The chart in messages: attached to mail, by a signed address elsewhere, and never in the way of a message."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.server.notify import limits
from tests.server.notify.mailbox import CERTIFICATE, Mailbox, Manners

from foreshock_server import worker as workers
from foreshock_server.bus import LocalBus
from foreshock_server.models import Channel, Incident
from foreshock_server.notify.channel import MemoryChannel
from foreshock_server.notify.discord import embed
from foreshock_server.notify.mail import Mail
from foreshock_server.notify.message import Chart, message_of
from foreshock_server.notify.ntfy import publication
from foreshock_server.notify.pagerduty import event
from foreshock_server.notify.slack import blocks
from foreshock_server.notify.teams import card
from foreshock_server.notify.worker import Deliverer
from foreshock_server.rules.load import RuleSet
from foreshock_server.store import outbox

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
URL = "https://foreshock.example.org/incidents/run-1/1/chart.png?message=m&until=1&signature=s"


@pytest.fixture
def charted(transition):
    """A message with a picture."""

    def make(kind: str = "fired", url: str | None = URL, draw=lambda: PNG, **detail):
        change = transition(kind)
        change.detail = {**change.detail, **detail}
        message = message_of(change, None, None, "http://foreshock.test")
        return replace(message, chart=Chart("Policy <entropy> falls & falls", url, draw))

    return make


def test_receivers_that_fetch_images_are_told_where_within_their_limits(charted):
    for message in (charted(), charted("resolved"), charted(message="x" * 20_000)):
        slack, discord, teams, pager, ntfy = (
            blocks(message), embed(message), card(message), event(message, "0" * 32), publication(message, "topic"),
        )  # fmt: skip
        limits.check_slack(slack)
        limits.check_discord(discord)
        limits.check_teams(teams)
        limits.check_pagerduty(pager)
        limits.check_ntfy(ntfy)
        [image] = [block for block in slack["attachments"][0]["blocks"] if block["type"] == "image"]
        assert (image["image_url"], image["alt_text"]) == (URL, "Policy <entropy> falls & falls")
        assert discord["embeds"][0]["image"] == {"url": URL}
        assert [
            one["url"] for one in teams["attachments"][0]["content"]["body"] if one["type"] == "Image"
        ] == [URL]
        assert ntfy["attach"] == URL
        assert message.payload()["chart"] == URL
    assert event(charted(), "0" * 32)["images"][0]["src"] == URL
    assert "images" not in event(charted(url=URL.replace("https:", "http:")), "0" * 32)


def test_without_an_address_nobody_is_told_of_one(charted):
    message = charted(url=None)
    told = (
        blocks(message),
        embed(message),
        card(message),
        event(message, "0" * 32),
        publication(message, "topic"),
    )
    assert "chart" not in str(told)
    assert message.payload()["chart"] is None


@pytest.fixture
def box(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    box = Mailbox(Manners())
    yield box
    box.close()


def test_mail_has_it_inside_and_asks_no_server(box, charted, local):
    url = f"smtp://me@localhost:{box.port}?from=f@example.org&to=a@example.org"
    Mail(url, None, local()).send(charted(), "msg-1")
    Mail(url, None, local()).send(charted(draw=lambda: None), "msg-2")
    with_it, without = (kept.mail for kept in box.kept)
    [picture] = [part for part in with_it.walk() if part.get_content_type() == "image/png"]
    assert picture.get_content() == PNG
    assert picture["Content-Disposition"].startswith("inline")
    html = with_it.get_body(("html",)).get_content()
    assert f'<img src="cid:{picture["Content-ID"].strip("<>")}"' in html
    assert "Policy &lt;entropy&gt; falls &amp; falls" in html
    assert URL not in html
    assert with_it.get_body(("plain",)).get_content().startswith("Policy entropy is collapsing")
    assert not any(part.get_content_type() == "image/png" for part in without.walk())
    assert "<img" not in without.get_body(("html",)).get_content()


@pytest.fixture
def deliver(rows, settings, transition):
    """What a channel gets of an alert that fires; `picture_of` draws."""

    def once(public_url: str | None = None, **more):
        channel = MemoryChannel()
        with rows.database.writing() as session:
            session.add(
                Channel(
                    id="c", name="c", kind="webhook", config={}, enabled=True, origin="api", created_at=0.0
                )
            )
            session.add(
                Incident(
                    run_id=rows.run_id, number=1, family="f", state="open", severity="critical", inhibits=False, firing=[], rules=["r"],
                    opened_step=412, opened_at=0.0, told_at=0.0, secret="s" * 64,
                )
            )  # fmt: skip
            change = session.merge(transition())
            session.flush()
            outbox.put(session, change, session.get_one(Channel, "c"), 2000.0, incident=1)
        deliverer = Deliverer(
            rows.database, settings.model_copy(update={"public_url": public_url}), LocalBus(), clock=lambda: 2000.0,
            open_channel=lambda _row: channel, **more,
        )  # fmt: skip
        deliverer.run_once()
        deliverer.close()
        [(number, message)] = channel.sent
        return number, message

    return once


def test_a_message_has_an_address_only_where_the_server_has_one(deliver):
    number, message = deliver("https://foreshock.example.org/", picture_of=lambda *_: PNG)
    assert message.chart.url.startswith(
        f"https://foreshock.example.org/incidents/run-1/1/chart.png?message={number}&until="
    )
    assert message.chart.draw() == PNG
    assert message.chart.words == message.alert.message


def test_without_a_public_address_it_is_drawn_for_mail_alone(deliver):
    _, message = deliver(None, picture_of=lambda *_: PNG)
    assert (message.chart.url, message.image, message.chart.draw()) == (None, None, PNG)


def test_a_picture_that_fails_is_logged_and_the_message_goes(deliver, caplog):
    def fails(*_):
        raise ZeroDivisionError

    _, message = deliver("https://foreshock.example.org", picture_of=fails)
    assert message.chart.draw() is None
    assert "the message goes without" in caplog.text


def test_without_pillow_a_message_says_nothing_of_a_chart(deliver):
    assert deliver("https://foreshock.example.org")[1].chart is None


@pytest.mark.parametrize("there", [True, False])
def test_workers_draw_where_pillow_is_installed(database, settings, monkeypatch, there):
    monkeypatch.setattr(workers, "find_spec", lambda name: there and name == "PIL")
    given = {}
    monkeypatch.setattr(workers, "Deliverer", lambda *_, **more: given.update(more) or Deliverer(*_, **more))
    stages = workers.Workers(database, LocalBus(), settings, RuleSet.load(settings))
    stages.stop()
    assert (given["picture_of"] is not None) == there
