"""Apprise in a process of its own: what it is handed, what comes back, where it may connect, and that it ends."""

from __future__ import annotations

import ipaddress
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foreshock_server.errors import Invalid
from foreshock_server.models import Channel
from foreshock_server.notify import apprise
from foreshock_server.notify.channel import NotDelivered
from foreshock_server.notify.kinds import checked_config, open_channel, shown_config
from foreshock_server.notify.message import message_of
from foreshock_server.notify.reach import EVERYWHERE, Way

TOKEN = "AbCdEfGh-1234567890"

# Stands for the library: an address `hook://TOKEN/URL` is posted to, with the standard library's client.
STAND_IN = """
import json, logging, os, socket, sys, time, urllib.request

class Apprise:
    def add(self, url):
        self.url = url
        return url.startswith(("hook://", "name://", "log://", "stall://", "crash://"))

    def notify(self, *, title, body, notify_type, body_format):
        kind, _, rest = self.url.partition("://")
        token, _, target = rest.partition("/")
        print("what a plugin prints is no answer")
        if kind == "stall":
            time.sleep(600)
        if kind == "crash":
            os._exit(3)
        if kind == "log":
            logging.getLogger("apprise.plugins").warning("Failed to notify %s: 401", token)
            return False
        if kind == "name":
            socket.socket().connect((target.split(":")[0], int(target.split(":")[1])))
            return True
        said = {"title": title, "body": body, "kind": notify_type, "format": body_format, "environment": sorted(os.environ)}
        try:
            urllib.request.urlopen(urllib.request.Request(target, json.dumps(said).encode(), {"webhook-id": token}))
        except OSError:
            return False
        return True
"""


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "apprise.py").write_text(textwrap.dedent(STAND_IN))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", ":".join([str(folder), *sys.path]))


@pytest.fixture
def send(transition: Callable[..., Any]) -> Callable[..., Any]:
    def run(url: str, way: Way, kind: str = "fired") -> Any:
        row = Channel(
            id="c", name="c", kind="apprise", config=checked_config("apprise", url, None), enabled=True, origin="api", created_at=0.0
        )  # fmt: skip
        return open_channel(row, way).send(message_of(transition(kind), None, None, "http://f.test"), "msg-1")

    return run


def test_a_message_is_handed_over_without_the_servers_settings(receive, send, local, monkeypatch):
    monkeypatch.setenv("FORESHOCK_API_KEY", "correct-horse")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test")
    receiver = receive()
    for kind in ("fired", "resolved"):
        assert send(f"hook://{TOKEN}/{receiver.url}", local(), kind).status is None
    fired, resolved = (got.json() for got in receiver.received)
    assert fired["title"] == "🔴 Policy entropy is collapsing · / run-1"
    assert "Raise the upper clip to 0.28." in fired["body"]
    assert fired["body"].endswith("Open the run: http://f.test/runs/run-1")
    assert (fired["kind"], resolved["kind"], fired["format"]) == ("failure", "success", "text")
    assert not [name for name in fired["environment"] if "FORESHOCK" in name or "PROXY" in name.upper()]


def test_nothing_in_the_process_connects_to_a_private_address(receive, send):
    receiver = receive()
    port = receiver.url.split(":")[2].split("/")[0]
    for url in (
        f"hook://{TOKEN}/{receiver.url}",
        f"name://{TOKEN}/localhost:{port}",
        f"name://{TOKEN}/127.0.0.1:{port}",
    ):
        with pytest.raises(NotDelivered, match="is not a public address") as caught:
            send(url, Way())
        assert caught.value.refused
    assert receiver.received == []
    assert send(f"name://{TOKEN}/localhost:{port}", Way(private=EVERYWHERE)).status is None


def test_a_redirect_does_not_lead_there_either(receive, answer, send):
    inside = receive()
    outside = receive(answer(307, {"Location": inside.url.replace("127.0.0.1", "127.0.0.2")}))
    with pytest.raises(NotDelivered):
        send(f"hook://{TOKEN}/{outside.url}", Way(private=(ipaddress.ip_network("127.0.0.1/32"),)))
    assert inside.received == []


def test_what_apprise_logs_is_the_reason_without_the_secret(send, local):
    with pytest.raises(NotDelivered, match=r"Apprise: Failed to notify •••: 401") as caught:
        send(f"log://{TOKEN}/x", local())
    assert not caught.value.refused


def test_an_address_that_apprise_does_not_know_is_told(send, local):
    with pytest.raises(NotDelivered, match="it does not know such an address") as caught:
        send(f"pigeon://{TOKEN}", local())
    assert caught.value.refused


def test_a_process_that_stalls_or_dies_is_ended_and_told(send, monkeypatch):
    monkeypatch.setattr(apprise, "STARTING", 3.0)
    with pytest.raises(NotDelivered, match=r"Apprise did not end within 3.5 s"):
        send(f"stall://{TOKEN}/x", Way(0.5, EVERYWHERE))
    monkeypatch.setattr(apprise, "STARTING", 600.0)
    with pytest.raises(NotDelivered, match="Apprise could not run"):
        send(f"crash://{TOKEN}/x", Way(10.0, EVERYWHERE))


def test_without_the_library_the_channel_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr(apprise.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(Invalid, match=r"pip install 'foreshock\[apprise\]'"):
        checked_config("apprise", "tgram://token/chat", None)


def test_only_the_service_is_shown():
    assert shown_config("apprise", {"url": f"tgram://{TOKEN}/chat"})["url"] == "tgram://…"
