"""YAML files -> the rules in force. What is wrong in a file is said in sentences: file, rule, field, and what to write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from foreshock_server.rules.applies import Intention, Profile, Runs
from foreshock_server.rules.detectors import KINDS
from foreshock_server.rules.documents import BadRules, mapping_in
from foreshock_server.rules.pack import Match, Notify, Pack, Remedy, Rule, Runbook, Says, SeriesLike
from foreshock_server.settings import Settings

_STATISTICS_KEPT = 10_000  # names whose rules are known
_PARTS: dict[str, type[BaseModel]] = {
    "matches": Match,
    "exclude": Match,
    "runs": Runs,
    "intention": Intention,
    "runbook": Runbook,
    "try": Remedy,
    "says": Says,
    "notify": Notify,
    "rules": Rule,
}


@dataclass(frozen=True)
class RuleSet:
    """The rules in force, and the file that each comes from."""

    rules: tuple[Rule, ...]
    origins: Mapping[str, str]  # rule id -> name of its file
    _about: dict[str, tuple[Rule, ...]] = field(default_factory=dict, init=False, compare=False, repr=False)

    @classmethod
    def load(cls, settings: Settings) -> RuleSet:
        """The built-in packs and those in `rules_dir`. A rule of one's own replaces the built-in one with its id."""
        packs = [parse_pack(text, name) for name, text in builtin_packs()]
        own: list[tuple[str, Pack]] = []
        problems: list[str] = []
        for name, text in _own_packs(settings.rules_dir):
            try:
                own.append((name, parse_pack(text, name)))
            except BadRules as bad:
                problems += bad.problems
        rules = {rule.id: rule for pack in packs for rule in pack.rules}
        origins = {rule.id: "built-in" for rule in rules.values()}
        problems += duplicates(own) + unknown_disabled(own, rules)
        if problems:
            raise BadRules(problems)
        for _, pack in own:
            for rule_id in pack.disable:
                rules.pop(rule_id, None)
        for name, pack in own:
            for rule in pack.rules:
                rules[rule.id] = rule
                origins[rule.id] = name
        return cls(tuple(rules.values()), {rule_id: origins[rule_id] for rule_id in rules})

    def of_run(self, run: Profile) -> RuleSet:
        """Those that are in force for this run, as they are there; itself when that makes no difference."""
        applied = [rule.applied(run) for rule in self.rules]
        if all(now is rule for now, rule in zip(applied, self.rules, strict=True)):
            return self
        return RuleSet(tuple(rule for rule in applied if rule is not None), self.origins)

    def matching(self, series: SeriesLike) -> list[Rule]:
        """The rules that are about this series."""
        return [rule for rule in self._of(series.statistic) if rule.watches(series)]

    def _of(self, statistic: str) -> tuple[Rule, ...]:
        """Those that name this statistic: most series of a run share theirs with others."""
        found = self._about.get(statistic)
        if found is None:
            if len(self._about) >= _STATISTICS_KEPT:
                self._about.clear()
            found = self._about[statistic] = tuple(
                rule
                for rule in self.rules
                if any(fnmatchcase(statistic, match.statistic) for match in rule.matches)
            )
        return found

    def runbook_of(self, rule_id: str) -> dict[str, Any] | None:
        """What people are told about the rule, as packs write it: meaning, check, try."""
        rule = self.get(rule_id)
        return None if rule is None else rule.runbook.model_dump(mode="json", by_alias=True)

    def get(self, rule_id: str) -> Rule | None:
        """The rule with this id, if it is in force."""
        return next((rule for rule in self.rules if rule.id == rule_id), None)


def builtin_packs() -> list[tuple[str, str]]:
    """(name, text) of each pack that ships in the package and is in force."""
    return _shipped("builtin")


def example_packs() -> dict[str, str]:
    """The texts, by name, of packs that ship in the package for people to copy; none of them is in force."""
    return {name.removesuffix(".yaml"): text for name, text in _shipped("examples")}


def _shipped(where: str) -> list[tuple[str, str]]:
    folder = files("foreshock_server.rules") / where
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    return [(entry.name, entry.read_text("utf-8")) for entry in sorted(found, key=lambda entry: entry.name)]


def duplicates(packs: Iterable[tuple[str, Pack]]) -> list[str]:
    """A sentence for each id that two rules share."""
    seen: dict[str, str] = {}
    problems = []
    for name, pack in packs:
        for rule in pack.rules:
            if rule.id in seen:
                problems.append(
                    f"{name}, rule {rule.id}: {seen[rule.id]} has a rule with this id too; rename one."
                )
            seen.setdefault(rule.id, name)
    return problems


def unknown_disabled(packs: Iterable[tuple[str, Pack]], builtin: Iterable[str]) -> list[str]:
    """A sentence for each `disable` that names no built-in rule."""
    known = sorted(builtin)
    return [
        f"{name}: `disable` names {rule_id!r}, which is no built-in rule; {_instead(rule_id, known)}"
        for name, pack in packs
        for rule_id in pack.disable
        if rule_id not in known
    ]


def parse_pack(text: str, name: str, *, aliases: bool = True) -> Pack:
    """The pack in this text; `name` is the file, for the sentences of BadRules. `aliases`: as `mapping_in` says."""
    data = mapping_in(
        text, name, "a pack is a mapping; begin with `pack: NAME` and `rules:`", aliases=aliases
    )
    try:
        pack = Pack.model_validate(data)
    except ValidationError as error:
        raise BadRules([_sentence(name, data, one) for one in error.errors(include_url=False)]) from None
    problems = duplicates([(name, pack)])
    if problems:
        raise BadRules(problems)
    return pack


def _own_packs(folder: Path | None) -> list[tuple[str, str]]:
    if folder is None:
        return []
    if not folder.is_dir():
        raise BadRules([f"{folder}: FORESHOCK_RULES_DIR is not a folder; make it, or unset the variable."])
    paths = sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"})
    return [(str(path), path.read_text("utf-8")) for path in paths]


def _sentence(name: str, data: Mapping[str, Any], error: ErrorDetails) -> str:
    loc = list(error["loc"])
    where, model = name, _model_at(loc)
    if len(loc) >= 2 and loc[0] == "rules" and isinstance(loc[1], int):
        where += f", {_rule_name(data, loc[1])}"
        loc = loc[2:]
    path = _path(
        [
            part
            for part, before in zip(loc, ["", *loc], strict=False)
            if before != "detector" or part not in KINDS
        ]
    )
    kind = error["type"]
    if kind == "extra_forbidden":
        known = sorted(field.alias or key for key, field in model.model_fields.items())
        return f"{where}: `{path}` is not known; {_instead(str(loc[-1]), known)}"
    if kind == "missing":
        return f"{where}: `{path}` is missing; add it{_described(model, loc[-1])}."
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        return f"{where}: `{path}.kind` must be one of: {', '.join(KINDS)}."
    message = error["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return f"{where}: {f'`{path}`: ' if path else ''}{message}."
    if kind == "string_pattern_mismatch" and loc[-1:] == ["id"]:
        message = "must be lower-case letters, digits and hyphens, like `policy-entropy-collapse`"
        return f"{where}: `{path}` {message}; it is {error['input']!r}."
    return f"{where}: `{path}` is {error['input']!r}, but: {message[:1].lower()}{message[1:]}."


def _rule_name(data: Mapping[str, Any], index: int) -> str:
    rules = data.get("rules")
    rule = rules[index] if isinstance(rules, list) and index < len(rules) else None
    if isinstance(rule, dict) and isinstance(rule.get("id"), str):
        return f"rule {rule['id']}"
    return f"rule number {index + 1}"


def _model_at(loc: list[int | str]) -> type[BaseModel]:
    model: type[BaseModel] = Pack
    for before, part in pairwise(["", *loc[:-1]]):
        if before == "detector" and part in KINDS:
            model = KINDS[str(part)]
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


def _instead(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"write one of: {', '.join(known)}."
