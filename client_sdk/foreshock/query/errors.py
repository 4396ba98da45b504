"""What a server refused, or what it does not know -> one sentence that says what to write instead."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence


class ForeshockError(Exception):
    """The server could not answer; the message is its own sentence."""

    def __init__(self, sentence: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(sentence)
        self.status = status  # HTTP status; None when there was no answer
        self.code = code  # such as UnknownRun


def refusal(url: str, status: int, body: bytes) -> ForeshockError:
    """What the server said; or that this is no Foreshock server."""
    try:
        said = json.loads(body)
        sentence, code = said["detail"], said.get("error")
    except (ValueError, KeyError, TypeError, AttributeError):
        return ForeshockError(
            f"{url} answered {status}, and not as a Foreshock server does. Is the address right?",
            status=status,
        )
    return ForeshockError(
        sentence if isinstance(sentence, str) else json.dumps(sentence), status=status, code=code
    )


def no_such(name: str, what: str, *known: Sequence[str]) -> str:
    """A sentence that names what is close, or else what there is."""
    names = list(dict.fromkeys(word for words in known for word in words))
    close = (
        difflib.get_close_matches(name, names, n=5, cutoff=0.5)
        or [word for word in names if name.lower() in word.lower()][:5]
    )
    if close:
        return f"There is no {what} called {name!r}; did you mean {' or '.join(map(repr, close))}?"
    some = ", ".join(map(repr, names[:10])) + (" …" if len(names) > 10 else "")
    return f"There is no {what} called {name!r}; " + (f"there are {some}." if names else "there is none yet.")
