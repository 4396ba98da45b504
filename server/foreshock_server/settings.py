"""Environment and arguments -> Settings, checked once. Every field has a row in server/README.md (a test compares)."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9.*\[\]:-]+")  # as a Content-Security-Policy names it
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Settings(BaseSettings):
    """What a server must know; each field is the environment variable FORESHOCK_<FIELD>."""

    model_config = SettingsConfigDict(
        env_prefix="FORESHOCK_",
        env_ignore_empty=True,  # an empty key must not count as a key
        extra="ignore",
    )

    host: str = Field(
        default="127.0.0.1", description="address to listen on; anything but loopback needs a key"
    )
    port: int = Field(
        default=8642, ge=0, le=65535, description="port to listen on; 0 takes a free one and prints it"
    )
    data_dir: Path = Field(default=Path("foreshock-data"), description="where the embedded database lives")
    database_url: str | None = Field(default=None, description="SQLAlchemy URL; default: SQLite in data_dir")
    redis_url: str | None = Field(
        default=None,
        description="hints between several processes, and leases that share the runs among workers; default: within this one",
    )
    public_url: str | None = Field(
        default=None, description="address of the page as people reach it, for links in alerts"
    )
    embed_in: str = Field(
        default="http://localhost:*,http://127.0.0.1:*",
        description="addresses whose pages may show this page in a frame, as notebooks do; `none`: nobody's",
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="a key that may do everything, beside those of `foreshock keys`; at least 12 characters",
    )
    slack_webhook_url: SecretStr | None = Field(
        default=None, description="a Slack incoming webhook that gets every alert"
    )
    webhook_url: str | None = Field(
        default=None, description="a URL that gets every alert as a signed JSON POST"
    )
    webhook_secret: SecretStr | None = Field(
        default=None, description="whsec_… key that signs webhook messages (Standard Webhooks)"
    )
    private_targets: str | None = Field(
        default=None,
        description="networks that are not public and that channels may reach, such as 10.1.0.0/16,127.0.0.1, or `all`",
    )
    delivery_days: float = Field(
        default=90.0,
        gt=0,
        allow_inf_nan=False,
        description="days after which messages that were delivered or given up are forgotten",
    )
    rules_dir: Path | None = Field(
        default=None, description="folder of further rule packs (*.yaml), beside the built-in ones"
    )
    max_block_bytes: int = Field(
        default=16 * 2**20, ge=1024, description="largest block accepted, after decompression"
    )
    ingest_requests_per_second: float = Field(
        default=2000.0,
        ge=0,
        allow_inf_nan=False,
        description="blocks and other requests with readings taken from one key, on average; 0: no limit",
    )
    ingest_bytes_per_second: int = Field(
        default=256 * 2**20,
        ge=0,
        description="bytes of such requests taken from one key, on average; 0: no limit",
    )
    read_requests_per_second: float = Field(
        default=500.0,
        ge=0,
        allow_inf_nan=False,
        description="other requests answered for one key, on average; 0: no limit",
    )
    silent_after: float = Field(
        default=60.0, gt=0, description="seconds without a block after which a running run counts as silent"
    )
    workers: bool | Literal["process"] = Field(
        default="process" if os.name == "posix" else True,
        description="where `foreshock serve` evaluates rules, seals and sends alerts: in a process beside it (process), in its own "
        "(true), or nowhere (false), as `foreshock worker` does it",
    )

    log_format: Literal["text", "json"] = Field(
        default="text", description="how log lines are written: for people, or one JSON object each"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="the least that is logged"
    )
    access_log: Literal["problems", "all", "off"] = Field(
        default="problems",
        description="which requests are logged at info: errors and slow ones, or all; the others are at debug",
    )
    slow_request: float = Field(
        default=1.0, gt=0, description="seconds from which on a request counts as slow"
    )

    @field_validator("api_key")
    @classmethod
    def _is_long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < 12:
            raise ValueError("is shorter than 12 characters; use a long random one")
        return key

    @field_validator("private_targets")
    @classmethod
    def _are_networks(cls, networks: str | None) -> str | None:
        _networks(networks)
        return networks

    @field_validator("embed_in")
    @classmethod
    def _are_origins(cls, text: str) -> str:
        for origin in _words(text):
            if origin != "none" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no address; write such as https://hub.example.org,http://localhost:*, or none"
                )
        return text

    @field_validator("public_url")
    @classmethod
    def _is_an_origin(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "http://unset")
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.path.strip("/")
            or parts.query
        ):
            raise ValueError("write the address without a path, such as https://foreshock.example.org")
        return url

    @property
    def frames(self) -> tuple[str, ...]:
        """Whose pages may show ours in a frame; empty: nobody's."""
        return tuple(origin for origin in _words(self.embed_in) if origin != "none")

    @property
    def private_networks(self) -> tuple[Network, ...]:
        """What channels may reach beside the public internet."""
        return _networks(self.private_targets)

    @property
    def url(self) -> str:
        """The database in use."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'foreshock.db'}"

    @property
    def shown_url(self) -> str:
        """The database in use, as a log may name it."""
        return make_url(self.url).render_as_string(hide_password=True)

    @property
    def page_url(self) -> str:
        """Where links in messages point: `public_url`, else the address we listen on, as another machine would name it."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = socket.gethostname() if self.host in ("", "0.0.0.0", "::") else self.host  # noqa: S104 (compared, not bound)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _networks(text: str | None) -> tuple[Network, ...]:
    words = _words(text or "")
    if words == ["all"]:
        words = ["0.0.0.0/0", "::/0"]
    try:
        return tuple(ipaddress.ip_network(word) for word in words)
    except ValueError as error:
        raise ValueError(f"{error}; write networks such as 10.1.0.0/16,192.168.7.9, or all") from None
