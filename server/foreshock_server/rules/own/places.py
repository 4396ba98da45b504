"""YAML text and a path in it -> where that stands, and the text with another value there. Pure.

A value is exchanged where it stands, so that comments and the rest of the lines stay as people wrote them; where that cannot be
done, all of it is written anew.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import yaml

Path = Sequence[str | int]
_WIDE = 10**6  # characters of a line, so that none is broken
_BREAKS = re.compile("[\x85\u2028\u2029]")


class _Dumper(yaml.SafeDumper):
    """Quotes what breaks a line in YAML and not in Python (NEL, LS, PS): safe_dump writes it bare, and reads a space back."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """A string, in double quotes where it would not be read back as it is."""
        style = '"' if _BREAKS.search(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


class Place(NamedTuple):
    """From 1."""

    line: int
    column: int


def place_of(text: str, path: Iterable[str | int]) -> Place | None:
    """Where the last part of the path stands that is there; parts that no text has, such as the kind of a detector, are passed over."""
    node = _composed(text)
    if node is None:
        return None
    mark = node.start_mark
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                continue
            mark, node = found[0].start_mark, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            mark = node.start_mark
    return Place(mark.line + 1, mark.column + 1)


def with_value(text: str, path: Path, value: Any) -> str:
    """The text with this value at the path, or without what is there (None). What is not there is added. The text must be a mapping."""
    wanted = _set(yaml.safe_load(text) or {}, path, value)
    for candidate in _edits(text, path, value):
        try:
            if yaml.safe_load(candidate) == wanted:
                return candidate
        except (yaml.YAMLError, ValueError):
            continue
    return written(wanted)


def written(data: Any) -> str:
    """As YAML that people read."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def inline(value: Any) -> str:
    """A value as it stands in a line."""
    text: str = yaml.dump(
        [value], Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=_WIDE
    )
    return text.strip()[1:-1]


def _composed(text: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return None
    return node


def _set(data: Any, path: Path, value: Any) -> Any:
    wanted = inner = deepcopy(data)
    for part, following in itertools.pairwise(path):
        if isinstance(inner, dict) and not isinstance(inner.get(part), dict | list):
            inner[part] = [] if isinstance(following, int) else {}
        if isinstance(inner, list) and part == len(inner):
            inner.append({})
        inner = inner[part]
    last = path[-1]
    if value is not None and isinstance(inner, list) and last == len(inner):
        inner.append(value)
    elif value is not None:
        inner[last] = value
    elif isinstance(inner, dict):
        inner.pop(last, None)
    return wanted


def _edits(text: str, path: Path, value: Any) -> Iterable[str]:
    """Texts that may be right; whoever asks looks."""
    node = _composed(text)
    if node is None or value is None:
        return
    for part in path[:-1]:
        following = _inside(node, part)
        if following is None:
            return
        node = following
    there = _inside(node, path[-1])
    if there is not None:
        if isinstance(there, yaml.ScalarNode) or there.flow_style:
            yield text[: there.start_mark.index] + inline(value) + text[there.end_mark.index :]
    elif isinstance(node, yaml.MappingNode):
        added = f"{path[-1]}: {inline(value)}"
        if node.flow_style:
            end = node.end_mark.index - 1
            yield f"{text[:end].rstrip()}{', ' if node.value else ''}{added}{text[end:]}"
        elif len(path) == 1:
            yield f"{text.rstrip()}\n{added}\n"
        else:
            start = node.start_mark
            yield f"{text[: start.index]}{added}\n{' ' * start.column}{text[start.index :]}"


def _inside(node: yaml.Node, part: str | int) -> Any:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and 0 <= part < len(node.value):
        return node.value[part]
    return None
