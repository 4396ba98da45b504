"""A rival's name -> the Python of an environment of its own, made by pip on first use; never the project's environment."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGES = {
    "cockpit": [
        "json-tricks",
        "matplotlib>=3.4",
        "numpy",
        "pandas",
        "scipy",
        "seaborn",
        "einops<1",
        "setuptools",
    ],
    "trackio": ["trackio"],
    "wandb": ["wandb"],
}  # the newest that the index has, kept until the cache is removed
BESIDE_TORCH = {"cockpit": ["cockpit-for-pytorch", "backpack-for-pytorch", "unfoldNd"]}
"""Installed without what they ask for: torch is the project's, the same for all subjects."""
DISTRIBUTION = {"cockpit": "cockpit-for-pytorch"}  # where it is not called as the module is


class Unavailable(Exception):
    """The rival cannot be measured here."""


class Rival(NamedTuple):
    """An installed rival."""

    name: str
    version: str
    python: Path

    @property
    def subject(self) -> str:
        """What a row calls it."""
        return f"{self.name} {self.version}"


def home() -> Path:
    """The cache: PEERS_HOME, else a folder in the user's cache."""
    return Path(os.environ.get("PEERS_HOME") or "~/.cache/foreshock-peers").expanduser()


def environment(**more: str) -> dict[str, str]:
    """The environment of a rival's process: without our source roots, telemetry off."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    return {**kept, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", **more}


def find(name: str) -> Rival:
    """The rival, installed now if it was not; Unavailable with pip's own words when that fails."""
    found = _found(name)
    if isinstance(found, Rival):
        return found
    raise Unavailable(found)


@cache
def _found(name: str) -> Rival | str:
    """The rival, or why it is not there: asked for by several measures, tried once."""
    try:
        return _ready(name)
    except (Unavailable, OSError, subprocess.TimeoutExpired) as error:
        return str(error)


def _ready(name: str) -> Rival:
    python = home() / "venvs" / name / "bin" / "python"
    version = _version(python, name)
    if version is None:
        _install(python, name)
        version = _version(python, name)
    if version is None:
        raise Unavailable(f"{name} was installed into {python.parent.parent}, but does not import")
    return Rival(name, version, python)


def _install(python: Path, name: str) -> None:
    print(f"installing {name} into {python.parent.parent}", flush=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    commands = [[sys.executable, "-m", "venv", "--clear", str(python.parent.parent)], [*pip, *PACKAGES[name]]]
    if name in BESIDE_TORCH:
        commands.append([*pip, "--no-deps", *BESIDE_TORCH[name]])
    for command in commands:
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode:
            raise Unavailable(f"{name} will not install: {(done.stderr or done.stdout).strip()[-300:]}")


def _version(python: Path, name: str) -> str | None:
    if not python.exists():
        return None
    ask = (
        f"import {name}; " if name not in BESIDE_TORCH else ""
    ) + f"from importlib.metadata import version; print('version', version({DISTRIBUTION.get(name, name)!r}))"
    try:
        done = subprocess.run(
            [python, "-c", ask], env=environment(), capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    said = [line for line in done.stdout.splitlines() if line.startswith("version ")]
    return said[-1].split()[1] if done.returncode == 0 and said else None
