"""`%load_ext foreshock`: the live page in a notebook, and what it costs those who never ask for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.sdk.served import Server, train

import foreshock
from foreshock.query.client import Client
from foreshock.query.embedding import Page, page_of
from foreshock.testing import recording


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("embedding"))
    train(server, "run-1", name="brisk-otter")
    train(server, "run-2", name="calm-heron")
    yield server
    server.close()


@pytest.fixture
def here(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FORESHOCK_URL", server.url)
    return server.url


class Shell:
    """What IPython gives an extension."""

    def __init__(self) -> None:
        self.user_ns: dict[str, Any] = {}
        self.magics: dict[str, Any] = {}

    def register_magic_function(self, function: Any, kind: str, name: str) -> None:
        assert kind == "line"
        self.magics[name] = function


def test_the_extension_gives_a_line_magic_that_shows_the_latest_run(here):
    shell = Shell()
    foreshock.load_ipython_extension(shell)
    page = shell.magics["foreshock"]("")
    assert page.url.endswith("/runs/run-2")
    assert f'<iframe src="{page.url}"' in page._repr_html_()
    assert 'height="800"' in page._repr_html_()


@pytest.mark.usefixtures("here")
def test_a_run_is_named_by_variable_id_or_name(server):
    client = Client(server.url)
    names = {"mine": client.run("run-1"), "other": "calm-heron"}
    assert page_of("mine --height 500", names).height == 500
    assert page_of("mine", names).url.endswith("/runs/run-1")
    assert page_of("other", names).url.endswith("/runs/run-2")
    assert page_of("brisk-otter", names).url.endswith("/runs/run-1")
    assert page_of("grpo-math/brisk-otter", {}).url.endswith("/runs/run-1")
    assert page_of(f"run-1 --url={server.url}", {}).url.endswith("/runs/run-1")
    assert client.run("run-1").page(300).height == 300
    client.close()


@pytest.mark.usefixtures("here")
def test_without_a_name_the_run_that_this_notebook_records_is_shown():
    with recording() as recorded:
        page = page_of("", {"x": 1, "run": recorded.run, "y": SimpleNamespace()})
        assert page.url == recorded.run.url


def test_an_empty_server_shows_how_to_begin(tmp_path):
    server = Server(tmp_path)
    assert page_of(f"--url {server.url}", {}).url == server.url
    server.close()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--wide", "'--wide' is not understood"),
        ("a b", "'b' is not"),
        ("--height tall", "no number of pixels"),
    ],
)
def test_a_line_that_is_not_understood_says_how_it_is_written(line, said):
    with pytest.raises(ValueError, match=rf"{said}.*usage: %foreshock \[RUN\]"):
        page_of(line, {})


def test_an_address_cannot_leave_its_attribute():
    assert "<script>" not in Page('http://x/"><script>')._repr_html_()


def test_the_page_may_be_framed_by_this_machine_and_whoever_is_allowed(server, tmp_path):
    import urllib3

    def ancestors(url: str) -> str:
        policy = urllib3.request("GET", f"{url}/").headers["Content-Security-Policy"]
        return policy.rpartition("frame-ancestors ")[2]

    assert ancestors(server.url) == "http://localhost:* http://127.0.0.1:*"
    for given, told in (("none", "'none'"), ("https://hub.example.org", "https://hub.example.org")):
        other = Server(tmp_path / told.strip("'").replace("/", ""), embed_in=given)
        assert ancestors(other.url) == told
        other.close()


def test_importing_foreshock_imports_no_ipython():
    code = "import sys, foreshock; foreshock.load_ipython_extension; sys.exit('IPython' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
