"""Configurations of several runs -> what differs, and which of the runs are the same but for their seeds. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

DEEPEST = 8  # of nested configurations; what lies below is one value
_NAMED = 3  # differences that name a group


class Difference(NamedTuple):
    """A setting that is not the same everywhere."""

    name: str
    values: list[str | None]  # as JSON, in the order of the runs; None where it is not set


class Group(NamedTuple):
    """Runs whose configurations differ in nothing but seeds."""

    label: str  # what tells it from the other groups
    members: list[int]  # places of its runs


def flat(config: Mapping[str, Any]) -> dict[str, str]:
    """Every setting by its dotted name, as JSON."""
    return dict(_flat(config, "", DEEPEST))


def _flat(config: Mapping[str, Any], above: str, deep: int) -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and value and deep > 0:
            yield from _flat(value, f"{above}{name}.", deep - 1)
        else:
            yield f"{above}{name}", json.dumps(value, ensure_ascii=False, sort_keys=True)


def differences(configs: Sequence[Mapping[str, Any]]) -> tuple[list[Difference], int]:
    """Those settings that differ, by name, and how many are the same in all."""
    tables = [flat(config) for config in configs]
    names = sorted(set().union(*tables))
    rows = [Difference(name, [table.get(name) for table in tables]) for name in names]
    differ = [row for row in rows if len(set(row.values)) > 1]
    return differ, len(rows) - len(differ)


def is_seed(name: str) -> bool:
    """True for a setting that only says which random numbers were drawn: `seed`, `data.seed`, `random_seed`."""
    return "seed" in name.rpartition(".")[2].lower().split("_")


def groups(configs: Sequence[Mapping[str, Any]]) -> list[Group]:
    """The runs by what their configurations say beside seeds, in the order of their first runs."""
    differ = [row for row in differences(configs)[0] if not is_seed(row.name)]
    found: dict[tuple[str | None, ...], list[int]] = {}
    for place in range(len(configs)):
        found.setdefault(tuple(row.values[place] for row in differ), []).append(place)
    return [Group(_label([row.name for row in differ], values), places) for values, places in found.items()]


def _label(names: Sequence[str], values: Sequence[str | None]) -> str:
    told = [
        f"{name.rpartition('.')[2]}={'unset' if value is None else value.strip(chr(34))[:40]}"
        for name, value in zip(names, values, strict=True)
    ]
    rest = len(told) - _NAMED
    return ", ".join(told[:_NAMED] + ([f"and {rest} more"] if rest > 0 else []))
