"""Arguments over environment over defaults; a wrong value says what to write; every setting is documented."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

import foreshock
from foreshock.config import Config

README = Path(__file__).parents[2] / "client_sdk" / "README.md"


def test_arguments_win_over_environment_and_environment_over_defaults() -> None:
    environ = {"FORESHOCK_URL": "http://env:1", "FORESHOCK_PROJECT": "env", "FORESHOCK_OFFLINE": "1"}
    config = Config.resolve(environ, url="http://argument:2/")
    assert (config.url, config.project, config.offline, config.flush_seconds) == (
        "http://argument:2",
        "env",
        True,
        10.0,
    )


def test_an_empty_variable_counts_as_absent() -> None:
    assert Config.resolve({"FORESHOCK_URL": "", "FORESHOCK_ATTEMPT": " "}) == Config()


def test_the_key_is_hidden_and_the_rest_is_shown() -> None:
    shown = repr(Config.resolve({}, api_key="fs-secret", project="p"))
    assert "fs-secret" not in shown
    assert "api_key=***" in shown
    assert "project='p'" in shown


def test_every_names_kinds_of_readings() -> None:
    assert Config.resolve({"FORESHOCK_EVERY": "activations=50, policy=2"}).every == {
        "activations": 50,
        "policy": 2,
    }
    assert Config.resolve({}, every={"views": 3}).every == {"views": 3}


@pytest.mark.parametrize(
    ("environ", "arguments", "says"),
    [
        ({}, {"url": "localhost:8642"}, "write the server's address"),
        ({}, {"run": "a/b"}, "letters, digits"),
        ({}, {"run": "x" * 65}, "1 to 64"),
        ({}, {"project": ""}, "1 to 200 printable"),
        ({}, {"name": "two\nlines"}, "printable"),
        ({}, {"owner": ""}, "write 1 to 100 printable"),
        ({}, {"tags": ["a", "x" * 65]}, "up to 50 words"),
        ({}, {"notes": "bell \a"}, "write plain text"),
        ({}, {"attempt": 0}, "the first life of a run is 1"),
        ({}, {"spool_max_bytes": 10}, "at least 65536"),
        ({}, {"flush_seconds": float("nan")}, "write a number of seconds"),
        ({}, {"every": {"activation": 5}}, "it can name activations"),
        ({}, {"every": {"views": -1}}, "write 1 for each step"),
        ({"FORESHOCK_OFFLINE": "maybe"}, {}, "FORESHOCK_OFFLINE is 'maybe'; write 1 or 0"),
        ({"FORESHOCK_ATTEMPT": "two"}, {}, "FORESHOCK_ATTEMPT is 'two'; write a number"),
        ({"FORESHOCK_EVERY": "activations"}, {}, "write it like activations=50"),
    ],
)
def test_a_wrong_value_says_what_to_write_instead(
    environ: dict[str, str], arguments: dict[str, object], says: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Config.resolve(environ, **arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"url": 8642}, "url is 8642, a int; write a str"),
        ({"attempt": "2"}, "attempt is '2', a str; write a int"),
        ({"disabled": 1}, "write a bool"),
        ({"every": {"views": 1.5}}, "write a mapping such as"),
        ({"tags": [1]}, "write a list such as ['baseline', 'lr-sweep']"),
        ({"colour": "red"}, "init does not know colour"),
    ],
)
def test_a_wrong_type_says_which_is_right(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(TypeError, match=re.escape(says)):
        Config.resolve({}, **arguments)


def test_init_refuses_wrong_arguments_before_anything_begins(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="url is 'nonsense'"):
        foreshock.init(project="p", url="nonsense")
    assert list(tmp_path.iterdir()) == []


def test_every_setting_has_a_row_in_the_readme() -> None:
    documented = re.findall(r"^\| `(FORESHOCK_\w+)` ", README.read_text(), re.M)
    known = [f"FORESHOCK_{setting.name.upper()}" for setting in fields(Config)]
    assert sorted(documented) == sorted([*known, "FORESHOCK_STRICT"])


def test_the_readme_says_of_each_setting_what_the_code_says() -> None:
    text = README.read_text()
    for setting in fields(Config):
        assert setting.metadata["about"] in text, setting.name
