"""Words of a command line -> a running service, a worker, a migrated database, runs as files; each returns an exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from foreshock_server.cli.attending import incidents
from foreshock_server.cli.delivering import deliveries
from foreshock_server.cli.exchanging import export, import_
from foreshock_server.cli.keying import keys
from foreshock_server.cli.migrating import migrate
from foreshock_server.cli.ruling import rules
from foreshock_server.cli.serving import serve
from foreshock_server.cli.silencing import silences
from foreshock_server.cli.working import worker

WORDS: dict[str, Callable[[Sequence[str]], int]] = {
    "serve": serve,
    "worker": worker,
    "migrate": migrate,
    "rules": rules,
    "keys": keys,
    "incidents": incidents,
    "silences": silences,
    "deliveries": deliveries,
    "export": export,
    "import": import_,
}


def main(argv: Sequence[str]) -> int:
    """`python -m foreshock_server WORD …`."""
    if not argv or argv[0] not in WORDS:
        print(f"usage: python -m foreshock_server {{{','.join(WORDS)}}} …", file=sys.stderr)
        return 2
    return WORDS[argv[0]](argv[1:])
