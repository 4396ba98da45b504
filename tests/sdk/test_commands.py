"""`foreshock`: one word, one command, loaded alone; `sync` says what it sent and leaves a status."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import foreshock
from foreshock import cli, commands
from foreshock.send.transport import Answer
from foreshock.spool.segment import Kind


def spool(nobody: str, *, run: str = "r", steps: int = 50) -> Path:
    """A spool that a run left because nobody took it."""
    left = foreshock.init(run=run, url=nobody, flush_seconds=0.0)
    for step in range(steps):
        left.log(loss=float(step))
        left.step()
    left.finish()
    assert left.spool is not None
    return left.spool


def table(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    head, *rows = capsys.readouterr().out.splitlines()
    return [dict(zip(head.split(), row.split(None, 7), strict=False)) for row in rows]


def test_sync_ships_every_run_below_a_directory(
    nobody: str, server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in ("a", "b"):
        spool(nobody, run=run)
    assert commands.sync([str(tmp_path), "--url", server.url]) == 0
    rows = table(capsys)
    assert [(row["run"], row["left"], row["refused"], row["damaged"]) for row in rows] == [
        ("a", "0", "0", "0"),
        ("b", "0", "0", "0"),
    ]
    assert all(int(row["readings"]) >= 50 for row in rows)
    for run in ("a", "b"):
        assert server.memory.columns("loss", run).steps.tolist() == list(range(50))
    assert commands.sync([str(tmp_path), "--url", server.url]) == 0
    assert "nothing waits here" in capsys.readouterr().out


def test_sync_without_an_address_goes_where_the_run_would_have_gone(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = foreshock.init(run="r", url=server.url, offline=True)
    run.log(loss=1.0)
    run.finish()
    assert commands.sync([str(tmp_path)]) == 0
    assert server.memory.columns("loss").values.tolist() == [1.0]


def test_sync_without_a_server_leaves_everything_and_says_why(
    nobody: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = spool(nobody)
    assert commands.sync([str(tmp_path), "--patience", "0.1"]) == 1
    (row,) = table(capsys)
    assert int(row["left"]) >= 50
    assert "does not answer (Connection refused)" in row["note"]
    assert list(left.glob("*.seg"))


def test_many_folders_do_not_each_wait_for_a_server_that_is_away(nobody: str, tmp_path: Path) -> None:
    for run in "abcdefgh":
        spool(nobody, run=run, steps=1)
    began = time.monotonic()
    assert commands.sync([str(tmp_path), "--patience", "1"]) == 1
    assert time.monotonic() - began < 3


def test_a_refused_block_is_something_left(
    nobody: str, server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = spool(nobody, steps=5)
    server.memory.fail_next(
        Answer(200, {"run": "r"}), Answer(422, {"error": "MalformedBlock", "detail": "no"})
    )
    server.memory.runs["r"] = {}
    assert commands.sync([str(tmp_path), "--url", server.url]) == 1
    (row,) = table(capsys)
    assert (row["refused"], row["left"]) == ("1", "0")
    assert list((left / "rejected").glob("*.block"))
    assert commands.sync([str(tmp_path), "--url", server.url]) == 1, "it is still there"


def test_sync_says_what_is_wrong_with_its_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.sync([str(tmp_path / "nowhere")]) == 2
    assert "name a spool" in capsys.readouterr().err
    assert commands.sync([str(tmp_path), "--url", "nonsense"]) == 2
    assert "write the server's address" in capsys.readouterr().err


def test_a_closed_run_is_closed_at_the_server_once(nobody: str, server: Any, tmp_path: Path) -> None:
    left = spool(nobody)
    assert any(b'"finished"' in path.read_bytes() for path in left.glob("*.seg")), Kind.CLOSE
    assert commands.sync([str(tmp_path), "--url", server.url]) == 0
    assert server.memory.ended["r", 1]["state"] == "finished"


# -- the dispatcher ------------------------------------------------------------------------------------------------


@pytest.fixture
def commands_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that exactly these entry points are installed."""

    def install(**named: str) -> None:
        points = [EntryPoint(name, value, cli.GROUP) for name, value in named.items()]
        monkeypatch.setattr(cli, "entry_points", lambda group: points)

    return install


def test_a_word_runs_its_command_with_the_rest(
    commands_of: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands_of(sync="foreshock.commands:sync")
    assert cli.main(["sync", str(tmp_path)]) == 0
    assert "nothing waits" in capsys.readouterr().out


def test_a_missing_extra_is_said_in_a_sentence(commands_of: Any, capsys: pytest.CaptureFixture[str]) -> None:
    commands_of(serve="foreshock_server.needs_a_library:serve")
    source = "import a_library_that_is_not_installed"
    sys.modules.pop("foreshock_server.needs_a_library", None)

    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> Any:
            from importlib.util import spec_from_loader

            return spec_from_loader(name, Loader()) if name.startswith("foreshock_server") else None

    class Loader:
        @staticmethod
        def create_module(spec: object) -> None:
            return None

        @staticmethod
        def exec_module(module: Any) -> None:
            module.__path__ = []
            if module.__name__.endswith("needs_a_library"):
                exec(source, module.__dict__)

    sys.meta_path.insert(0, Finder)  # type: ignore[arg-type]
    hidden = {
        name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("foreshock_server")
    }
    try:
        assert cli.main(["serve"]) == 1
    finally:
        sys.meta_path.remove(Finder)  # type: ignore[arg-type]
        for name in list(sys.modules):
            if name.startswith("foreshock_server"):
                del sys.modules[name]
        sys.modules.update(hidden)
    assert capsys.readouterr().err == "foreshock serve needs more: pip install 'foreshock[server]'\n"


def test_a_fault_of_ours_is_no_missing_extra(commands_of: Any) -> None:
    commands_of(serve="foreshock.no_such_module:serve")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        cli.main(["serve"])


def test_help_lists_what_is_installed_and_loads_nothing(
    commands_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    commands_of(serve="nothing_there:serve", sync="foreshock.commands:sync", mine="my_package:command")
    assert cli.main(["--help"]) == cli.main([]) == 0
    shown = capsys.readouterr().out
    assert "serve      start a server" in shown
    assert "mine       my_package:command" in shown


def test_an_unknown_word_points_to_help(commands_of: Any, capsys: pytest.CaptureFixture[str]) -> None:
    commands_of()
    assert cli.main(["sirve"]) == 2
    assert "foreshock --help" in capsys.readouterr().err


def test_every_command_of_the_project_is_described() -> None:
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    section = pyproject.split('entry-points."foreshock.commands"]')[1].split("\n[")[0]
    assert {line.split(" =")[0] for line in section.splitlines() if " = " in line} == set(cli.ABOUT)


def test_the_module_runs_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "foreshock", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"foreshock {foreshock.__version__}\n")
