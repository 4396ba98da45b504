"""What pydantic finds wrong in a pack -> a sentence: file, rule, field, and what to write."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from foreshock_server.rules.applies import Intention, Runs
from foreshock_server.rules.derived import DERIVATIONS
from foreshock_server.rules.detectors import KINDS
from foreshock_server.rules.documents import instead
from foreshock_server.rules.guards import Need
from foreshock_server.rules.joint import Joint, Part
from foreshock_server.rules.lapse import NoData
from foreshock_server.rules.matching import Match
from foreshock_server.rules.pack import Notify, Pack, Remedy, Rule, Runbook, Says

_PARTS: dict[str, type[BaseModel]] = {
    "matches": Match,
    "exclude": Match,
    "other": Match,
    "joint": Joint,
    "all": Part,
    "any": Part,
    "sequence": Part,
    "runs": Runs,
    "intention": Intention,
    "runbook": Runbook,
    "try": Remedy,
    "says": Says,
    "notify": Notify,
    "needs": Need,
    "no_data": NoData,
    "rules": Rule,
}
_KINDS: dict[str, Mapping[str, type[BaseModel]]] = {"detector": KINDS, "derive": DERIVATIONS}


def sentence_of(name: str, data: Mapping[str, Any], error: ErrorDetails) -> str:
    """One sentence; `name` is the file, `data` what was in it."""
    loc = error["loc"]
    where = name
    if len(loc) >= 2 and loc[0] == "rules" and isinstance(loc[1], int):
        where += f", {_rule_name(data, loc[1])}"
    return f"{where}: {said_of(error)}"


def said_of(error: ErrorDetails) -> str:
    """The sentence without the file and the rule."""
    loc = list(error["loc"])
    model = _model_at(loc)
    if len(loc) >= 2 and loc[0] == "rules" and isinstance(loc[1], int):
        loc = loc[2:]
    path = _path(
        [
            part
            for part, before in zip(loc, ["", *loc], strict=False)
            if part not in _KINDS.get(str(before), ())
        ]
    )
    kind = error["type"]
    if kind == "extra_forbidden":
        known = sorted(field.alias or key for key, field in model.model_fields.items())
        return f"`{path}` is not known; {instead(str(loc[-1]), known)}"
    if kind == "missing":
        return f"`{path}` is missing; add it{_described(model, loc[-1])}."
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        return f"`{path}.kind` must be one of: {', '.join(_KINDS[path])}."
    message = error["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return f"{f'`{path}`: ' if path else ''}{message}."
    if kind == "string_pattern_mismatch" and loc[-1:] == ["id"]:
        message = "must be lower-case letters, digits and hyphens, like `policy-entropy-collapse`"
        return f"`{path}` {message}; it is {error['input']!r}."
    return f"`{path}` is {error['input']!r}, but: {message[:1].lower()}{message[1:]}."


def _rule_name(data: Mapping[str, Any], index: int) -> str:
    rules = data.get("rules")
    rule = rules[index] if isinstance(rules, list) and index < len(rules) else None
    if isinstance(rule, dict) and isinstance(rule.get("id"), str):
        return f"rule {rule['id']}"
    return f"rule number {index + 1}"


def _model_at(loc: list[int | str]) -> type[BaseModel]:
    model: type[BaseModel] = Pack
    for before, part in pairwise(["", *loc[:-1]]):
        if part in _KINDS.get(str(before), ()):
            model = _KINDS[str(before)][str(part)]
        elif part in _PARTS:
            model = _PARTS[str(part)]
    return model


def _path(loc: list[int | str]) -> str:
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _described(model: type[BaseModel], field: int | str) -> str:
    for key, info in model.model_fields.items():
        if field in {key, info.alias} and info.description:
            return f" ({info.description})"
    return ""
