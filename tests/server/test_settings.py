"""Every setting is documented, and what is written wrongly is refused before it can do harm."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from foreshock_server.settings import Settings

ROOT = Path(__file__).parents[2]
NAMES = {f"FORESHOCK_{name.upper()}" for name in Settings.model_fields}


def test_every_setting_has_its_row_in_the_readme_with_its_default():
    rows = re.findall(
        r"^\| `(FORESHOCK_\w+)` \|(.*?)\| \S.* \|$", (ROOT / "server/README.md").read_text(), re.M
    )
    assert {name for name, _ in rows} == NAMES
    assert len(rows) == len(NAMES)
    for name, said in rows:
        field = Settings.model_fields[name.removeprefix("FORESHOCK_").lower()]
        if field.default is not None:
            default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
            assert said.strip() == f"`{default.lower() if field.default is True else default}`"


def test_every_setting_has_a_description():
    assert all(field.description for field in Settings.model_fields.values())


def test_the_compose_file_and_the_image_name_only_settings_that_exist():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    named = {
        name
        for service in services.values()
        for name in service.get("environment", {})
        if "FORESHOCK" in name
    }
    named |= set(re.findall(r"FORESHOCK_\w+(?==)", (ROOT / "server/Dockerfile").read_text()))
    assert named
    assert named <= NAMES


def test_secrets_are_not_shown(tmp_path):
    secrets = {
        "api_key": "hunter2-hunter2",
        "slack_webhook_url": "https://hooks.example/hunter2",
        "webhook_secret": "whsec_hunter2",
    }
    settings = Settings(data_dir=tmp_path, database_url="postgresql+psycopg://u:hunter2@db/x", **secrets)
    assert "hunter2" not in settings.shown_url
    assert "hunter2" not in repr(settings.model_dump(exclude={"database_url"}))


def test_an_empty_variable_is_not_set(monkeypatch):
    monkeypatch.setenv("FORESHOCK_API_KEY", "")
    monkeypatch.setenv("FORESHOCK_PUBLIC_URL", "")
    settings = Settings()
    assert (settings.api_key, settings.public_url) == (None, None)


@pytest.mark.parametrize("key", ["", "short"])
def test_a_key_that_can_be_guessed_is_refused(key):
    with pytest.raises(ValidationError, match="12 characters"):
        Settings(api_key=key)


@pytest.mark.parametrize(
    "url", ["foreshock.example", "https://", "ftp://x", "https://x/path", "https://x?y=1"]
)
def test_a_public_address_is_one(url):
    with pytest.raises(ValidationError, match="without a path"):
        Settings(public_url=url)


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:1"), ("::1", "http://[::1]:1"), ("example.org", "http://example.org:1")],
)
def test_links_name_the_address_listened_on(host, address):
    assert Settings(host=host, port=1).page_url == address


def test_links_name_the_public_address_when_there_is_one():
    assert (
        Settings(host="0.0.0.0", public_url="https://foreshock.example/").page_url
        == "https://foreshock.example"
    )
