"""Where channels may reach: public addresses alone unless it is allowed, by the address that was checked and no other."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from foreshock_server.notify import reach
from foreshock_server.notify.channel import NotDelivered
from foreshock_server.notify.post import post_json
from foreshock_server.notify.reach import EVERYWHERE, Way, check_host, may_reach
from foreshock_server.settings import Settings

PRIVATE = [
    "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "34.120.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_out_of_reach_unless_allowed(address):
    assert not may_reach(ipaddress.ip_address(address), ())
    assert may_reach(ipaddress.ip_address(address), EVERYWHERE)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_within_reach(address):
    assert may_reach(ipaddress.ip_address(address), ())


def test_an_allowed_network_allows_itself_alone_also_when_wrapped():
    allowed = Settings(private_targets="10.1.0.0/16, 192.168.7.9").private_networks
    for address in ("10.1.2.3", "192.168.7.9", "::ffff:10.1.2.3"):
        assert may_reach(ipaddress.ip_address(address), allowed)
    for address in ("10.2.0.1", "192.168.7.8", "127.0.0.1", "::1"):
        assert not may_reach(ipaddress.ip_address(address), allowed)


def test_the_setting_says_what_to_write():
    assert Settings(private_targets="all").private_networks == EVERYWHERE
    assert Settings().private_networks == ()
    with pytest.raises(
        ValueError, match=r"10.1.0.1/16 has host bits set; write networks such as 10.1.0.0/16"
    ):
        Settings(private_targets="10.1.0.1/16")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "[::1]", "10.0.0.1"])
def test_a_host_that_is_written_as_a_private_address_is_known_without_a_name_server(host):
    with pytest.raises(NotDelivered, match="is not a public address"):
        check_host(host, ())


def test_a_name_is_not_judged_before_it_is_resolved():
    check_host("internal.example.org", ())


class Names:
    """A name server with an answer for each question; the last one stays."""

    def __init__(self, port: int, *answers: list[str]) -> None:
        self.port = port
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, self.port)) for address in answer]


def test_nothing_connects_to_a_private_address_and_the_sentence_names_the_setting(receive):
    receiver = receive()
    with pytest.raises(NotDelivered, match=r"FORESHOCK_PRIVATE_TARGETS=127.0.0.1") as caught:
        post_json(receiver.url, {}, Way())
    assert caught.value.refused
    assert receiver.received == []


def test_one_private_address_among_public_ones_is_enough_to_refuse(receive, monkeypatch):
    receiver = receive()
    port = int(receiver.url.split(":")[2].split("/")[0])
    monkeypatch.setattr(reach.socket, "getaddrinfo", Names(port, ["1.1.1.1", "127.0.0.1"]))
    with pytest.raises(NotDelivered, match=r"hooks.example.org \(127.0.0.1\) is not a public address"):
        post_json("http://hooks.example.org/x", {}, Way())
    assert receiver.received == []


def test_a_name_that_changes_between_check_and_connection_moves_nothing(receive, monkeypatch):
    """What was checked is what is connected to: the name is asked for once per message."""
    allowed = (ipaddress.ip_network("127.0.0.1/32"),)
    receiver = receive()
    port = int(receiver.url.split(":")[2].split("/")[0])
    names = Names(port, ["127.0.0.1"], ["10.255.255.1"])
    monkeypatch.setattr(reach.socket, "getaddrinfo", names)
    assert post_json("http://rebinding.example.org/x", {}, Way(5.0, allowed)).status == 200
    assert names.asked == 1, "asked again, a name server may answer differently"
    assert receiver.received[0].headers["host"] == "rebinding.example.org"
    with pytest.raises(NotDelivered, match="is not a public address"):
        post_json("http://rebinding.example.org/x", {}, Way(5.0, allowed))


def test_the_next_address_is_tried_when_one_is_dead(receive, monkeypatch):
    receiver = receive()
    port = int(receiver.url.split(":")[2].split("/")[0])
    monkeypatch.setattr(reach.socket, "getaddrinfo", Names(port, ["127.0.0.2", "127.0.0.1"]))
    assert post_json("http://two.example.org/x", {}, Way(10.0, EVERYWHERE)).status == 200


def test_a_redirect_to_a_private_address_is_not_followed(receive, answer):
    inside = receive()
    outside = receive(answer(302, {"Location": inside.url}))
    with pytest.raises(NotDelivered, match=r"redirecting to 127.0.0.1"):
        post_json(outside.url, {}, Way(5.0, EVERYWHERE))
    assert inside.received == []
