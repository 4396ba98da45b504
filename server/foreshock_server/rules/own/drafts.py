"""The text of a rule and of its tests, as somebody writes them -> the rule, the cases, and what is wrong, in sentences with their line. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import ValidationError

from foreshock_server.errors import Invalid
from foreshock_server.rules.documents import BadRules, mapping_in
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.own.places import Path, Place, place_of, with_value, written
from foreshock_server.rules.pack import Pack, Rule
from foreshock_server.rules.parts import unknown_parts
from foreshock_server.rules.trial.cases import Case, Cases
from foreshock_server.rules.trial.cases import sentence_of as case_sentence
from foreshock_server.rules.wording import said_of

LONGEST_TEXT = 20_000  # characters
LONGEST_TESTS = 100_000
MOST_TESTS = 60

RESERVED = ("new", "own")  # addresses of the page
_AT = re.compile(r" \(line (\d+), column (\d+)\)$")
_BORDER = re.compile(r"^(---|\.\.\.|%)", re.MULTILINE)


@dataclass(frozen=True)
class Problem:
    """What is wrong, and what to write."""

    part: Literal["rule", "tests"]
    says: str
    path: str = ""  # such as `detector.below`
    line: int | None = None
    column: int | None = None


class Checked(NamedTuple):
    """What came of a draft."""

    rule: Rule | None
    cases: tuple[Case, ...]
    problems: tuple[Problem, ...]


def checked(
    text: str, tests: str, rules: RuleSet, taken: Mapping[str, str], keeps: str | None = None
) -> Checked:
    """The draft, judged with the rules in force. `taken`: ids that it may not have, and whose each is; `keeps`: the one it must."""
    rule, problems = rule_in(text)
    if rule is not None:
        problems += _between(text, rule, rules, taken)
        if keeps not in (None, rule.id):
            says = f"`id`: a rule keeps its id, which is {keeps}; copy it to have another one."
            problems.append(_placed("rule", text, says, ["id"]))
    cases, wrong = cases_in(tests, rule)
    return Checked(rule, cases, (*problems, *wrong))


def rule_in(text: str) -> tuple[Rule | None, list[Problem]]:
    """The rule that this YAML is; without one, why not."""
    data, problems = _mapping("rule", text, "a rule is a mapping; begin with `id:` and `title:`")
    if data is None:
        return None, problems
    try:
        return Pack.model_validate({"pack": "draft", "rules": [data]}).rules[0], []
    except ValidationError as error:
        return None, [
            _placed("rule", text, said_of(one), one["loc"][2:]) for one in error.errors(include_url=False)
        ]


def cases_in(text: str, rule: Rule | None) -> tuple[tuple[Case, ...], list[Problem]]:
    """The cases of a text that holds `tests:`; each is about this rule, whether it says so or not."""
    if not text.strip():
        return (), []
    data, problems = _mapping("tests", text, "tests are a mapping; begin with `tests:`")
    if data is None:
        return (), problems
    given = data.get("tests")
    if isinstance(given, list):
        data = {**data, "tests": [_about(one, rule) for one in given]}
    try:
        cases = tuple(Cases.model_validate(data).tests)
    except ValidationError as error:
        found = error.errors(include_url=False)
        said = [(case_sentence("tests", data, one), one["loc"]) for one in found]
        sentences = dict.fromkeys(one for one, _ in said if one)
        where = {one: loc for one, loc in reversed(said) if one}
        return (), [_placed("tests", text, one, where[one]) for one in sentences]
    if len(cases) > MOST_TESTS:
        return (), [Problem("tests", f"These are more than {MOST_TESTS} tests; leave some out.")]
    strange = [
        _placed("tests", text, f"tests, test {one.name!r}: it is about `{one.rule}`; leave `rule` out.", ["tests", number])
        for number, one in enumerate(cases)
        if rule is not None and one.rule != rule.id
    ]  # fmt: skip
    return (() if strange else cases), strange


def changed(text: str, path: Path, value: Any) -> str:
    """The text of a rule with another value at this path; None takes it away. Invalid where there is no such place."""
    try:
        mapping_in(text, "The rule", "write a mapping", aliases=False)
        return with_value(text, path, value)
    except (BadRules, IndexError, KeyError, TypeError, RecursionError) as error:
        said = str(error) if isinstance(error, BadRules) else "there is no such place in it"
        raise Invalid(f"The text cannot be changed there: {said}", field="path") from None


def as_pack(name: str, texts: Iterable[str]) -> str:
    """The text of a pack with these rules, as they were written."""
    rules = [_item(text) for text in texts]
    return f"pack: {name}\nrules:{''.join(rules)}" if rules else f"pack: {name}\nrules: []\n"


def as_tests(pack: str, rules: Iterable[tuple[str, str]]) -> str:
    """The text of a file with the cases of these rules (id, text), each of which says its rule."""
    cases = [
        {"name": one["name"], "rule": rule, **one}
        for rule, text in rules
        if text.strip()
        for one in yaml.safe_load(text)["tests"]
    ]
    return written({"pack": pack, "tests": cases})


def _item(text: str) -> str:
    """An entry of a block list."""
    lines = [f"    {line}".rstrip() for line in text.strip("\n").splitlines()]
    return "\n  -" + "\n".join(lines)[3:] + "\n"


def _mapping(
    part: Literal["rule", "tests"], text: str, otherwise: str
) -> tuple[dict[str, Any] | None, list[Problem]]:
    border = _BORDER.search(text)
    if border is not None:
        line = text.count("\n", 0, border.start()) + 1
        return None, [
            Problem(part, f"`{border[1]}` begins another document: leave that line out.", line=line, column=1)
        ]
    try:
        return mapping_in(text, part, otherwise, aliases=False), []
    except BadRules as bad:
        said = bad.problems[0].removeprefix(f"{part}: ")
        at = _AT.search(said)
        place = Place(int(at[1]), int(at[2])) if at else Place(1, 1)
        return None, [Problem(part, said[:1].upper() + said[1:], "", *place)]


def _placed(part: Literal["rule", "tests"], text: str, says: str, loc: Iterable[str | int]) -> Problem:
    path = list(loc)
    place = place_of(text, path)
    shown = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in path).lstrip(".")
    return Problem(part, says, shown, *(place or (None, None)))


def _between(text: str, rule: Rule, rules: RuleSet, taken: Mapping[str, str]) -> list[Problem]:
    problems = []
    owner = "an address of this page" if rule.id in RESERVED else taken.get(rule.id)
    if owner is not None:
        problems.append(_placed("rule", text, f"`id`: {rule.id} is {owner}; choose another.", ["id"]))
    pack = Pack(pack="draft", rules=[rule])
    problems += [
        _placed("rule", text, one.partition(f"rule {rule.id}: ")[2] or one, ["joint"])
        for one in unknown_parts([("draft", pack)], rules.rules)
    ]
    return problems


def _about(case: Any, rule: Rule | None) -> Any:
    if not isinstance(case, dict) or "rule" in case:
        return case
    return {**case, "rule": "draft" if rule is None else rule.id}
