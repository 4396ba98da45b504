"""An address -> the live page inside a notebook; and the line magic `%foreshock` that asks for it."""

from __future__ import annotations

import html
import shlex
from collections.abc import Mapping
from typing import Any

from .client import Client

HEIGHT = 800  # pixels
_RECORDER = ("foreshock.run", "Run")  # by name: the half that asks does not import the half that records
USAGE = "usage: %foreshock [RUN] [--url URL] [--height PIXELS]; RUN is a variable, an id or a name; without it: the run of this notebook, else the latest"


class Page:
    """A page of the server in a frame, which lives as it does in a tab of its own; with its address beneath."""

    def __init__(self, url: str, height: int = HEIGHT) -> None:
        self.url = url
        self.height = height

    def __repr__(self) -> str:
        return self.url

    def _repr_html_(self) -> str:
        url = html.escape(self.url)
        return (
            f'<iframe src="{url}" title="Foreshock" width="100%" height="{self.height}" style="border:0"></iframe>'
            f'<p><a href="{url}" target="_blank" rel="noopener">{url}</a></p>'
        )


def install(shell: Any) -> None:
    """Give an IPython shell the line magic `%foreshock`."""

    def foreshock(line: str) -> Page:
        """Show the live page of a run: %foreshock [RUN] [--url URL] [--height PIXELS]."""
        return page_of(line, shell.user_ns)

    shell.register_magic_function(foreshock, "line", "foreshock")


def page_of(line: str, names: Mapping[str, Any]) -> Page:
    """The words after `%foreshock`, and the notebook's variables -> the page; ValueError says how it is written."""
    words, url, height = _words(line)
    run = names.get(words[0], words[0]) if words else _recorded(names)
    if hasattr(run, "url") and hasattr(run, "id") and not url:
        return Page(str(run.url), height)
    client = Client(url)
    try:
        if run is None:
            runs = client.runs(limit=1)
            return Page(runs[0].url if runs else client.url, height)  # an empty server says how to begin
        return Page(client.run(str(getattr(run, "id", run))).url, height)
    finally:
        client.close()


def _words(line: str) -> tuple[list[str], str | None, int]:
    words: list[str] = []
    options = {"--url": "", "--height": str(HEIGHT)}
    rest = iter(shlex.split(line))
    for word in rest:
        name, _, value = word.partition("=")
        if name in options:
            options[name] = value or next(rest, "")
        elif word.startswith("-") or words:
            raise ValueError(f"{word!r} is not understood; {USAGE}.")
        else:
            words.append(word)
    if not options["--height"].isdigit():
        raise ValueError(f"--height {options['--height']!r} is no number of pixels; {USAGE}.")
    return words, options["--url"] or None, int(options["--height"])


def _recorded(names: Mapping[str, Any]) -> Any:
    """The run that this notebook itself records, by `foreshock.init`: of several variables the one that was set last."""
    recorders = (one for one in reversed(list(names.values())) if _kind(one) == _RECORDER)
    return next(recorders, None)


def _kind(thing: object) -> tuple[str, str]:
    return type(thing).__module__, type(thing).__name__
