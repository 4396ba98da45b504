"""The public names. Importing them imports neither torch nor numpy-heavy code of ours, and starts no thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .control import Alert, StopTraining
from .opening import init
from .run import Run
from .version import __version__

if TYPE_CHECKING:
    from .query.client import Client, ForeshockError

__all__ = ["Alert", "Client", "ForeshockError", "Run", "StopTraining", "__version__", "init"]


def __getattr__(name: str) -> Any:
    """Queries are for notebooks: a training script that never asks does not pay for loading them."""
    if name in ("Client", "ForeshockError"):
        from .query import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
