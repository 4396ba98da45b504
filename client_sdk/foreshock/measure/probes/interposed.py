"""A function of somebody else's in; the same function, which also tells us what it was called with, in its place until removed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from foreshock.guard import guard

Listener = Callable[[tuple[Any, ...], dict[str, Any], Any], None]
"""Gets the arguments, the named arguments and the result."""

_standing: dict[tuple[int, str], _Interposed] = {}


class Listening:
    """Ends with `remove`, as the handle of a hook does."""

    def __init__(self, interposed: _Interposed, listener: Listener) -> None:
        self._interposed = interposed
        self._listener = listener

    def remove(self) -> None:
        """Hear no more; the last one to go puts the function back."""
        self._interposed.leave(self._listener)


def listen(owner: object, name: str, listener: Listener) -> Listening:
    """Hear of every call of ``owner.name`` after it has returned; nobody who holds the function itself is heard."""
    key = (id(owner), name)
    if key not in _standing:
        _standing[key] = _Interposed(owner, name)
    _standing[key].listeners.append(listener)
    return Listening(_standing[key], listener)


class _Interposed:
    def __init__(self, owner: object, name: str) -> None:
        self.listeners: list[Listener] = []
        self._owner = owner
        self._name = name
        self._original = original = getattr(owner, name)
        listeners = self.listeners

        @functools.wraps(original)
        def told(*args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or not listeners:
                return original(*args, **kwargs)
            args = tuple(list(a) if isinstance(a, Iterator) else a for a in args)  # to be read twice
            kwargs = {k: list(a) if isinstance(a, Iterator) else a for k, a in kwargs.items()}
            result = original(*args, **kwargs)
            for listener in tuple(listeners):
                with guard(f"what hears of {name}"):
                    listener(args, kwargs, result)
            return result

        self._ours = told
        setattr(owner, name, told)

    def leave(self, listener: Listener) -> None:
        """Put the function back when nobody listens, unless somebody else has replaced ours meanwhile: then it only passes on."""
        if listener in self.listeners:
            self.listeners.remove(listener)
        if not self.listeners:
            _standing.pop((id(self._owner), self._name), None)
            if getattr(self._owner, self._name) is self._ours:
                setattr(self._owner, self._name, self._original)
