"""Words of a command line -> a running service, a worker, a migrated database, runs as files; each returns an exit status.

Each word is a function of this package's, in a module that is imported when it is asked for: `keys` and a worker do without the page.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

Command = Callable[[Sequence[str]], int]

WORDS = {  # word: the function that runs it
    "serve": "serving.serve",
    "worker": "working.worker",
    "migrate": "migrating.migrate",
    "rules": "ruling.rules",
    "keys": "keying.keys",
    "incidents": "attending.incidents",
    "silences": "silencing.silences",
    "deliveries": "delivering.deliveries",
    "export": "exchanging.export",
    "import": "exchanging.import_",
}


def main(argv: Sequence[str]) -> int:
    """`python -m foreshock_server WORD …`."""
    if not argv or argv[0] not in WORDS:
        print(f"usage: python -m foreshock_server {{{','.join(WORDS)}}} …", file=sys.stderr)
        return 2
    return _command(WORDS[argv[0]])(argv[1:])


def __getattr__(name: str) -> Command:
    """One of the functions, by its name: `from foreshock_server.cli import keys`."""
    for place in WORDS.values():
        if place.endswith(f".{name}"):
            return _command(place)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _command(place: str) -> Command:
    module, _, name = place.partition(".")
    found: Command = getattr(import_module(f"{__name__}.{module}"), name)
    return found
