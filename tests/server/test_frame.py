"""The page's files: what index.html names beforehand, and how a file is kept, checked and read again."""

from __future__ import annotations

import gzip
import re

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from foreshock_server.app import frame, page
from foreshock_server.app.files import Files


def hints(client, path: str) -> list[str]:
    text = client.get(path).text
    return [*re.findall(r'modulepreload" href="/([^"]+)"', text)]


@pytest.mark.parametrize(
    ("path", "view"), [("/runs/r1", "run.js"), ("/", "runs.js"), ("/rules/mine", "rule-editor.js")]
)
def test_the_frame_names_every_module_of_its_view_and_none_of_the_others(client, path, view):
    named = hints(client, path)
    assert {*frame.FIRST, view} <= set(named)
    assert len(named) == len(set(named))
    for name in named:
        text = (page.STATIC / name).read_text()
        imported = re.findall(r'^(?:import|export)\b.*"\./([\w-]+\.js)";$', text, re.MULTILINE)
        assert set(imported) <= set(named), f"{name} imports what is not named"
    assert "settings.js" not in named


def test_the_frame_knows_the_views_that_the_page_loads():
    loaded = set(re.findall(r'import\("\./([\w-]+\.js)"\)', (page.STATIC / "app.js").read_text()))
    assert loaded == set(frame.VIEWS.values()) - {None}


def test_the_frame_says_which_plotly_is_in_use(client):
    assert f'<meta name="plotly" content="{page.plotly_address()}">' in client.get("/runs/r1").text


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.js").write_text("// one\n" * 100)
    return tmp_path


@pytest.fixture
def files(folder):
    with TestClient(Starlette(routes=[Mount("/", Files(directory=folder))])) as client:
        yield client


def test_a_file_is_sent_packed_to_who_takes_it(files, folder):
    answer = files.get("/a.js", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(
        gzip.compress((folder / "a.js").read_bytes(), 6, mtime=0)
    )
    assert answer.headers["content-type"].startswith("text/javascript")
    plain = files.get("/a.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == answer.text == (folder / "a.js").read_text()


def test_a_file_is_asked_after_at_each_use_and_read_again_when_it_changed(files, folder):
    first = files.get("/a.js")
    assert first.headers["cache-control"] == "no-cache"
    same = files.get("/a.js", headers={"If-None-Match": first.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    (folder / "a.js").write_text("// two\n")
    changed = files.get("/a.js", headers={"If-None-Match": first.headers["etag"]})
    assert (changed.status_code, changed.text) == (200, "// two\n")


def test_what_is_no_file_is_not_found(files, folder):
    (folder / "deeper").mkdir()
    for path in ("/b.js", "/deeper", "/%2e%2e/deeper.js"):
        assert files.get(path).status_code == 404
    assert files.head("/a.js").status_code == 200
