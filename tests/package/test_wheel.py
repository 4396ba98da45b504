"""The wheel in an empty environment, away from the checkout: imports, migrates, serves the page, asks no other host."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("package")]


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "FORESHOCK", "VIRTUAL"))
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable, "-m", "build", "--outdir", out, ROOT, cwd=out
    )  # the sdist first, the wheel from it: as a publisher does
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and its base dependencies alone."""
    home = tmp_path_factory.mktemp("bare")
    run(sys.executable, "-m", "venv", home / "env", cwd=home)
    run(home / "env/bin/pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=home)
    return home


def test_the_wheel_holds_the_page_the_revisions_and_the_rules(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for part in (
        "foreshock/py.typed",
        "foreshock_web/static/index.html",
        "foreshock_migrations/env.py",
        "foreshock_server/py.typed",
    ):
        assert part in names
    assert any(re.match(r"foreshock_migrations/versions/.+\.py", name) for name in names)
    assert any(re.match(r"foreshock_server/rules/builtin/[^/]+\.yaml", name) for name in names)
    assert any(re.match(r"foreshock_server/rules/builtin/tests/.+\.yaml", name) for name in names)
    assert not [name for name in names if name.startswith(("tests/", "test/")) or "node_modules" in name]


def test_the_base_install_is_three_small_dependencies_and_never_torch(bare: Path) -> None:
    listed = json.loads(run(bare / "env/bin/pip", "list", "--format", "json", cwd=bare).stdout)
    assert {package["name"] for package in listed} - {"pip", "setuptools"} == {
        "foreshock",
        "msgpack",
        "numpy",
        "urllib3",
    }
    run(bare / "env/bin/python", "-c", "import sys, foreshock; sys.exit('torch' in sys.modules)", cwd=bare)


def test_a_run_without_torch_and_without_a_server_spools(bare: Path) -> None:
    code = (
        "import foreshock\nwith foreshock.init(project='p') as run:\n    run.log(loss=1.0)\n    run.step()\n"
    )
    run(
        bare / "env/bin/python",
        "-c",
        code,
        cwd=bare,
        FORESHOCK_OFFLINE="1",
        FORESHOCK_DIR=str(bare / "spool"),
    )
    assert any(path.is_file() for path in (bare / "spool").rglob("*"))


def test_a_command_that_needs_an_extra_says_which(bare: Path) -> None:
    done = subprocess.run(
        [bare / "env/bin/foreshock", "serve"], cwd=bare, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'foreshock[server]'" in done.stderr + done.stdout


@pytest.fixture(scope="module")
def address(bare: Path) -> Iterator[str]:
    """The service, installed from the wheel into the same environment and started in an empty folder."""
    wheel_with_extra = f"foreshock[server] @ file://{next(bare.parent.glob('wheel*/*.whl'))}"
    run(bare / "env/bin/pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel_with_extra, cwd=bare)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (bare / "log").open("w") as log:
        process = subprocess.Popen(
            [bare / "env/bin/foreshock", "serve", "--port", str(port), "--data-dir", str(bare / "data")],
            cwd=bare,
            env={**os.environ, "FORESHOCK_PRIVATE_TARGETS": "all"},
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=2).close()
            break
        except OSError:
            assert process.poll() is None, (bare / "log").read_text()
            time.sleep(0.1)
    yield url
    process.terminate()
    assert process.wait(20) == 0


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def test_the_page_loads_with_everything_it_names_and_names_no_other_host(address: str) -> None:
    page = get(address + "/")
    named = re.findall(r"""(?:src|href)=["']([^"'#]+)["']""", page)
    assert named
    for reference in named:
        assert not re.match(r"(?:https?:)?//", reference), f"{reference} is on another host"
        get(address + "/" + reference.lstrip("/"))
    with urllib.request.urlopen(address + "/assets/plotly.js", timeout=10) as answer:
        assert re.search(r"/assets/plotly-[\d.]+\.min\.js$", answer.url), "the version stands in the name"
        assert b"plotly" in answer.read(2000)


def test_the_migrations_were_applied_at_the_start(address: str, bare: Path) -> None:
    assert json.loads(get(address + "/api/v1/runs"))["runs"] == []
    assert (bare / "data" / "foreshock.db").exists()
    run(bare / "env/bin/foreshock", "migrate", "--check", cwd=bare, FORESHOCK_DATA_DIR=str(bare / "data"))


def test_it_answers_as_the_checkout_does(address: str, bare: Path) -> None:
    """The whole conformance suite, with the SDK of the wheel against the server of the wheel."""
    run(bare / "env/bin/python", "-m", "tests.conformance", address, cwd=bare, PYTHONPATH=str(ROOT))
