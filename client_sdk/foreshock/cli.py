"""`foreshock WORD …` -> the one command of that name: found by entry point, so that neither half imports the other."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points

from .version import __version__

GROUP = "foreshock.commands"
ABOUT: Mapping[str, str] = {
    "deliveries": "list what was sent to channels, and send again what did not arrive",
    "demo": "two small training runs, one of which collapses, watched from tensor to pager",
    "export": "write runs as Parquet files",
    "import": "store runs from files that `export` wrote",
    "incidents": "list what goes on in all runs, and say that somebody looks after it",
    "keys": "make, list and revoke the keys of a server",
    "migrate": "bring the server's database to the schema of this release, or copy it to another one",
    "projects": "list the projects of a server, and say how long their runs are kept",
    "report": "write one run as an HTML file that can be kept and sent",
    "rules": "check packs of alert rules, and try them on drawn series and stored runs",
    "runs": "list the runs of a server, or delete some",
    "serve": "start a server: API, page, rules and alerts",
    "silences": "say for a time what shall not be told, and take that back",
    "sync": "ship what waits in a spool",
    "worker": "evaluate rules and send alerts beside several servers",
}
EXTRA = {
    "foreshock_server": "server",
    "foreshock_migrations": "server",
    "foreshock_web": "server",
    "foreshock": "demo",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command with the arguments after its name; its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands = {point.name: point for point in entry_points(group=GROUP)}
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help(commands))
        return 0
    if words[0] in ("-V", "--version"):
        print(f"foreshock {__version__}")
        return 0
    command = commands.get(words[0])
    if command is None:
        print(
            f"foreshock knows no command {words[0]!r}; `foreshock --help` lists what it knows",
            file=sys.stderr,
        )
        return 2
    try:
        run = command.load()
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in EXTRA:
            raise  # ours is never missing for want of an extra
        extra = EXTRA.get(command.module.partition(".")[0], "server")
        print(f"foreshock {command.name} needs more: pip install 'foreshock[{extra}]'", file=sys.stderr)
        return 1
    try:
        return int(run(words[1:]) or 0)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `foreshock runs | head`
        sys.stderr.close()
        return 0


def _help(commands: Mapping[str, EntryPoint]) -> str:
    lines = ["foreshock COMMAND …: a live collapse monitor for PyTorch training", ""]
    lines += [f"  {name:10} {ABOUT.get(name, commands[name].value)}" for name in sorted(commands)]
    lines += ["", "foreshock COMMAND --help says more; foreshock --version says which release this is"]
    return "\n".join(lines)
