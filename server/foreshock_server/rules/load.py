"""YAML files -> the rules in force. What is wrong in a file is said in sentences: file, rule, field, and what to write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from foreshock_server.rules.applies import Profile
from foreshock_server.rules.documents import BadRules, instead, mapping_in
from foreshock_server.rules.matching import SeriesLike
from foreshock_server.rules.pack import Pack, Rule
from foreshock_server.rules.parts import parts_among, unknown_parts
from foreshock_server.rules.wording import sentence_of
from foreshock_server.settings import Settings

S = TypeVar("S", bound=SeriesLike)

OWN = "made here"  # the origin of a rule that was made on the page
_STATISTICS_KEPT = 10_000  # names whose rules are known


class Scope(NamedTuple):
    """Of a rule that was made on the page."""

    project: str | None  # only this project's runs; None: all
    replaces: str | None  # id of the rule that it stands in for, in those of them that it is about


@dataclass(frozen=True)
class RuleSet:
    """The rules in force, and the file that each comes from."""

    rules: tuple[Rule, ...]
    origins: Mapping[str, str]  # rule id -> name of its file
    packs: Mapping[str, str] = field(default_factory=dict)  # rule id -> name of its pack, where people see it
    own: Mapping[str, Scope] = field(default_factory=dict)  # of rules that were made on the page
    _about: dict[str, tuple[Rule, ...]] = field(default_factory=dict, init=False, compare=False, repr=False)

    @classmethod
    def load(cls, settings: Settings) -> RuleSet:
        """The built-in packs and those in `rules_dir`. A rule of one's own replaces the built-in one with its id."""
        packs = _builtin()
        own: list[tuple[str, Pack]] = []
        problems: list[str] = []
        for name, text in _own_packs(settings.rules_dir):
            try:
                own.append((name, parse_pack(text, name)))
            except BadRules as bad:
                problems += bad.problems
        rules = {rule.id: rule for pack in packs for rule in pack.rules}
        origins = {rule.id: "built-in" for rule in rules.values()}
        named = {rule.id: pack.pack for pack in packs for rule in pack.rules}
        problems += duplicates(own) + unknown_disabled(own, rules) + unknown_parts(own, rules.values())
        if problems:
            raise BadRules(problems)
        for _, pack in own:
            for rule_id in pack.disable:
                rules.pop(rule_id, None)
        for name, pack in own:
            for rule in pack.rules:
                rules[rule.id] = rule
                origins[rule.id] = name
                named[rule.id] = pack.pack
        return cls(tuple(rules.values()), {rule_id: origins[rule_id] for rule_id in rules}, named)

    def with_own(self, own: Iterable[tuple[Rule, str, Scope]]) -> RuleSet:
        """These and rules made on the page, each with the name of its pack. Their ids are not among these."""
        added = list(own)
        if not added:
            return self
        ids = [rule.id for rule, _, _ in added]
        return RuleSet(
            (*self.rules, *(rule for rule, _, _ in added)),
            {**self.origins, **dict.fromkeys(ids, OWN)},
            {**self.packs, **{rule.id: pack for rule, pack, _ in added}},
            {**self.own, **{rule.id: scope for rule, _, scope in added}},
        )

    def with_draft(self, rule: Rule) -> RuleSet:
        """This rule, which is not in force as it is written, and those that it is about if it is a joint one."""
        others = tuple(one for one in self.rules if one.id != rule.id)
        return RuleSet((rule, *others), {**self.origins, rule.id: "draft"}).with_parts([rule.id])

    def seen_by(self, project: str | None) -> RuleSet:
        """Without the rules that were made for another project than this one; None: all."""
        hidden = {one for one, scope in self.own.items() if project and scope.project not in (None, project)}
        if not hidden:
            return self
        kept = tuple(rule for rule in self.rules if rule.id not in hidden)
        return RuleSet(kept, self.origins, self.packs, self.own)

    def of_run(self, run: Profile) -> RuleSet:
        """Those that are in force for this run, as they are there; itself when that makes no difference."""
        here = {one: scope for one, scope in self.own.items() if scope.project in (None, run.project)}
        applied = [
            rule.applied(run) if rule.id in here or rule.id not in self.own else None for rule in self.rules
        ]
        replaced = {here[rule.id].replaces for rule in applied if rule is not None and rule.id in here}
        if replaced - {None}:
            applied = [None if rule is None or rule.id in replaced else rule for rule in applied]
        if all(now is rule for now, rule in zip(applied, self.rules, strict=True)):
            return self
        return RuleSet(tuple(rule for rule in applied if rule is not None), self.origins)

    def matching(self, series: SeriesLike) -> list[Rule]:
        """The rules that are about this series."""
        return [rule for rule in self._of(series.statistic) if rule.watches(series)]

    def comparing(self, other: SeriesLike) -> list[Rule]:
        """The rules that compare what they are about with this series."""
        return [rule for rule in self._deriving if rule.compares_with(other)]

    @cached_property
    def _deriving(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.derive is not None)

    def parts_of(self, rule: Rule) -> list[list[Rule]]:
        """Of a joint rule, by part, the rules in force that are meant."""
        return parts_among(rule, self.rules)

    def with_parts(self, wanted: Iterable[str]) -> RuleSet:
        """The rules with these ids and those that they are about."""
        ids = set(wanted)
        for rule in self.rules:
            if rule.id in wanted:
                ids |= {part.id for parts in self.parts_of(rule) for part in parts}
        kept = tuple(rule for rule in self.rules if rule.id in ids)
        return RuleSet(kept, {rule.id: self.origins[rule.id] for rule in kept})

    def series_of(self, rule: Rule, series: Iterable[S]) -> list[S]:
        """Those of the series that the rule is about, or the rules that a joint one is about."""
        if rule.joint is None:
            return [one for one in series if rule.watches(one)]
        parts = [part for parts in self.parts_of(rule) for part in parts]
        return [one for one in series if any(part.watches(one) for part in parts)]

    @cached_property
    def companions(self) -> frozenset[str]:
        """The statistics that tell these rules which readings count."""
        return frozenset(need.statistic for rule in self.rules for need in rule.needs)

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


@cache
def _builtin() -> tuple[Pack, ...]:
    """Read once: it takes a third of a second, and nothing in them can be changed."""
    return tuple(parse_pack(text, name) for name, text in builtin_packs())


def builtin_tests() -> list[tuple[str, str]]:
    """(name, text) of the drawn tests of each of them, which ship beside it."""
    return _shipped("builtin/tests")


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
        f"{name}: `disable` names {rule_id!r}, which is no built-in rule; {instead(rule_id, known)}"
        for name, pack in packs
        for rule_id in pack.disable
        if rule_id not in known
    ]


def with_builtin_parts(rules: RuleSet) -> RuleSet:
    """These rules and the built-in ones that their joint rules are about."""
    if not any(rule.joint for rule in rules.rules):
        return rules
    others = [rule for pack in _builtin() for rule in pack.rules if rules.get(rule.id) is None]
    meant = {one.id: one for rule in rules.rules for parts in parts_among(rule, others) for one in parts}
    origins = {**rules.origins, **dict.fromkeys(meant, "built-in")}
    return RuleSet((*rules.rules, *meant.values()), origins)


def parse_pack(text: str, name: str, *, aliases: bool = True) -> Pack:
    """The pack in this text; `name` is the file, for the sentences of BadRules. `aliases`: as `mapping_in` says."""
    data = mapping_in(
        text, name, "a pack is a mapping; begin with `pack: NAME` and `rules:`", aliases=aliases
    )
    try:
        pack = Pack.model_validate(data)
    except ValidationError as error:
        raise BadRules([sentence_of(name, data, one) for one in error.errors(include_url=False)]) from None
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
