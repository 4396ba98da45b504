"""What made the numbers: config, code, machine and place in the job, as plain JSON; nothing here imports torch."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import platform
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

DEEPEST = 12  # levels of a config that are kept; what lies below is written as its repr
WIDEST = 1_000  # items of one list or mapping of a config that are kept
LONGEST = 2_000  # characters of a repr
GIT_SECONDS = 2.0

# fmt: off
_ADJECTIVES = (
    "amber", "brisk", "calm", "clear", "deft", "early", "fleet", "gentle", "grand", "hardy",
    "keen", "level", "light", "lively", "lucid", "mellow", "nimble", "patient", "plain", "quick",
    "quiet", "rapid", "ready", "sharp", "silent", "solid", "steady", "still", "subtle", "sunny",
    "swift", "vivid", "warm", "wise",
)
_NOUNS = (
    "badger", "basin", "beacon", "birch", "canyon", "cedar", "cliff", "comet", "coral", "crane",
    "delta", "dune", "ember", "falcon", "fjord", "glacier", "grove", "harbor", "heron", "island",
    "lagoon", "lark", "ledge", "maple", "marsh", "meadow", "mesa", "otter", "pebble", "pine",
    "prairie", "raven", "reef", "ridge", "river", "sparrow", "summit", "tern", "thicket", "valley",
    "willow", "wren",
)
# fmt: on


def readable_name(run_id: uuid.UUID) -> str:
    """A name people can say, from the id alone: no generator of the training is touched."""
    number = run_id.int
    number, adjective = divmod(number, len(_ADJECTIVES))
    number, noun = divmod(number, len(_NOUNS))
    return f"{_ADJECTIVES[adjective]}-{_NOUNS[noun]}-{number % 100}"


def json_safe(value: Any, depth: int = 0) -> Any:
    """Any config as JSON: dataclasses, namespaces, paths and numpy scalars by what they hold, the rest by repr, NaN as "NaN"."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, np.generic):
        return json_safe(value.item(), depth) if not isinstance(value.item(), np.generic) else _repr(value)
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, float):
        return (
            value
            if math.isfinite(value)
            else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
        )
    if isinstance(value, os.PathLike):
        return _storable(str(value))
    if depth >= DEEPEST:
        return _repr(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: json_safe(getattr(value, f.name), depth + 1) for f in dataclasses.fields(value)}
    if isinstance(value, argparse.Namespace):
        return json_safe(vars(value), depth)
    if isinstance(value, Mapping):
        return {_key(key): json_safe(inner, depth + 1) for key, inner in islice(value.items(), WIDEST)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [json_safe(inner, depth + 1) for inner in islice(value, WIDEST)]
    return _repr(value)


def _storable(text: str) -> str:
    """Text that UTF-8 and PostgreSQL both take: no lone surrogate, no NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _key(key: Any) -> str:
    return str(json_safe(key)) if isinstance(key, (str, int, float, bool)) else _repr(key)


def _repr(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 (a stranger's repr may raise anything; the config is kept without it)
        text = f"<{type(value).__name__}>"
    return _storable(text[:LONGEST])


def place_in_job(environ: Mapping[str, str]) -> tuple[int, int]:
    """(rank, world size): from torch.distributed where it is running, else from the environment, else (0, 1)."""
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank()), int(distributed.get_world_size())
    try:
        rank, world = int(environ.get("RANK", "0")), int(environ.get("WORLD_SIZE", "1"))
    except ValueError:
        return 0, 1
    return (rank, world) if 0 <= rank < world else (0, 1)


def facts(rank: int, world_size: int) -> dict[str, Any]:
    """What can be said at once: cheap enough for the training thread."""
    from .version import __version__

    found: dict[str, Any] = {
        "host": socket.gethostname(),
        "user_agent": user_agent(),
        "foreshock": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "pid": os.getpid(),
        "argv": [_storable(word[:LONGEST]) for word in sys.argv[:100]],
        "rank": rank,
        "world_size": world_size,
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = str(torch.__version__)
        if torch.cuda.is_available() and torch.cuda.is_initialized():  # asking earlier would create a context
            found["device"] = torch.cuda.get_device_name()
    return found


def user_agent() -> str:
    """What our requests call themselves."""
    from .version import __version__

    return f"foreshock/{__version__} Python/{platform.python_version()}"


def script_folder() -> Path:
    """Where the training script lies: the repository to ask for its commit. In a notebook, where it was started."""
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path()
    return script.resolve().parent if script.is_file() else Path.cwd()


def git_facts(folder: Path) -> dict[str, Any]:
    """Commit and whether files differ from it; empty where there is no git. Takes up to two seconds: not for the training thread."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or commit.returncode != 0:
        return {}
    found: dict[str, Any] = {"git_commit": commit.stdout.decode("ascii", "replace").strip()}
    differs = _git(folder, "diff", "--quiet", "HEAD", "--")
    if differs is not None and differs.returncode in (0, 1):
        found["git_dirty"] = differs.returncode == 1
    return found


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes] | None:
    command: Sequence[str] = ("git", "--no-optional-locks", *words)
    try:
        return subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
