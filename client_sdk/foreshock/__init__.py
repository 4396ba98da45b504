"""The public names. Importing them imports neither torch nor numpy-heavy code of ours, and starts no thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .control import Alert, StopTraining
from .opening import init
from .run import Run
from .version import __version__

if TYPE_CHECKING:
    from .describing import describe
    from .query.client import Client, ForeshockError
    from .query.panels import panel

__all__ = [
    "Alert",
    "Client",
    "ForeshockError",
    "Run",
    "StopTraining",
    "__version__",
    "describe",
    "init",
    "panel",
]


def __getattr__(name: str) -> Any:
    """What needs more than the standard library is loaded when it is asked for: most scripts never ask."""
    if name in ("Client", "ForeshockError"):
        from .query import client

        return getattr(client, name)
    if name == "describe":
        from .describing import describe

        return describe
    if name == "panel":
        from .query.panels import panel

        return panel
    if name == "load_ipython_extension":  # %load_ext foreshock
        from .query.embedding import install

        return install
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
