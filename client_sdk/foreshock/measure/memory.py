"""Objects of ours in; the bytes of the tensors and arrays that they hold, each storage once, out."""

from __future__ import annotations

import functools
import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor, nn

OURS = "foreshock."  # objects of other modules are not looked into: a model, an optimizer, a hook's handle


def held(*roots: object, beside: Iterable[object] = ()) -> int:
    """Bytes on all devices, pinned or not, without what is reached through ``beside`` alone.

    Parameters are the user's, whoever holds them; weak references hold nothing.
    """
    seen = {id(one) for one in beside}
    storages: dict[int, int] = {}
    waiting: list[object] = list(roots)
    while waiting:
        one = waiting.pop()
        if id(one) in seen or one is None or isinstance(one, (str, bytes, int, float, type)):
            continue
        seen.add(id(one))
        if isinstance(one, Tensor):
            if not isinstance(one, nn.Parameter):
                storage = one.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(one, np.ndarray):
            base = one.base if isinstance(one.base, np.ndarray) else one
            storages[base.__array_interface__["data"][0]] = base.nbytes
        else:
            waiting.extend(_within(one))
    return sum(storages.values())


def _within(one: object) -> Iterable[Any]:
    """What this object refers to, as far as it may be ours."""
    if isinstance(one, dict):
        return (*one.keys(), *one.values(), *_attributes(one))
    if isinstance(one, (list, tuple, set, frozenset, deque, weakref.WeakSet)):
        return (*one, *_attributes(one))
    if isinstance(one, functools.partial):
        return (one.func, *one.args, *one.keywords.values())
    if callable(one) and (getattr(one, "__self__", None) is not None or hasattr(one, "__closure__")):
        cells = getattr(one, "__closure__", None) or ()
        return (getattr(one, "__self__", None), *(cell.cell_contents for cell in cells if _filled(cell)))
    return _attributes(one)


def _attributes(one: object) -> tuple[Any, ...]:
    if not type(one).__module__.startswith(OURS):
        return ()
    slots = (name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ()))
    return (
        (*vars(one).values(),)
        if hasattr(one, "__dict__")
        else tuple(getattr(one, name, None) for name in slots)
    )


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (an empty one raises)
    except ValueError:
        return False
    return True
