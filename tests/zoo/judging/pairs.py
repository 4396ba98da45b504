"""The pairs there are: each module of `tests.zoo.trainings` but the interface and what begins with an underscore."""

from __future__ import annotations

import importlib
import pkgutil

import tests.zoo.trainings as trainings
from tests.zoo.trainings.pair import Pair


def names() -> list[str]:
    """Of all pairs."""
    found = [module.name for module in pkgutil.iter_modules(trainings.__path__)]
    return sorted(name for name in found if name != "pair" and not name.startswith("_"))


def load(name: str) -> Pair:
    """The pair of this module; ValueError says what is wrong with the name or the module."""
    if name not in names():
        raise ValueError(f"there is no pair {name!r}; there is {', '.join(names()) or 'none'}")
    pair = getattr(importlib.import_module(f"tests.zoo.trainings.{name}"), "PAIR", None)
    if not isinstance(pair, Pair) or pair.name != name:
        raise ValueError(f"tests/zoo/trainings/{name}.py needs PAIR = Pair(name={name!r}, …)")
    return pair
