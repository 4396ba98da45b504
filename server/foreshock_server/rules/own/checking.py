"""What somebody writes -> what is wrong in it, its drawn tests run, and the texts of rules to begin from. Stores nothing."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from foreshock_server.deps import PLAIN, Asking, Reading
from foreshock_server.errors import UnknownRule, UnknownRun
from foreshock_server.rules import description
from foreshock_server.rules.columns import subjects
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.own import drafts
from foreshock_server.rules.own.places import written
from foreshock_server.rules.own.view import shown_problem, taken
from foreshock_server.rules.pack import Rule
from foreshock_server.rules.trial.candidates import candidates
from foreshock_server.rules.trial.files import builtin_cases
from foreshock_server.rules.trial.played import played
from foreshock_server.rules.trial.turns import turn
from foreshock_server.store import own_rules
from foreshock_server.store.runs import get_run

router = APIRouter(tags=["rules"])

MOST_SERIES_TOLD = 20
PATIENCE = 5.0  # seconds that tests wait for somebody else's backtest

RuleText = Annotated[str, Field(max_length=drafts.LONGEST_TEXT)]
TestsText = Annotated[str, Field(max_length=drafts.LONGEST_TESTS)]
RuleId = Annotated[str, Field(min_length=1, max_length=100, pattern=PLAIN)]


class Draft(BaseModel):
    """A rule as somebody writes it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: RuleText = Field(description="YAML of one rule, as it stands under `rules:` of a pack")
    tests: TestsText = Field("", description="YAML of its drawn tests, with `tests:`; empty: none")
    rule: RuleId | None = Field(None, description="id of the rule that is being changed; left out: a new one")
    run: Annotated[str, Field(min_length=1, max_length=64, pattern=PLAIN)] | None = Field(
        None, description="a run, to be told which of its series the rule is about"
    )


@router.post("/rules/check")
def check_rule(draft: Draft, request: Request, session: Reading, access: Asking) -> dict[str, Any]:
    """What is wrong in a rule and its tests, in sentences with their lines, while they are being written. Nothing is stored."""
    rules = request.app.state.rulebook.look(session)
    found = drafts.checked(draft.text, draft.tests, rules, taken(session, rules, draft.rule), draft.rule)
    rule = found.rule
    return {
        "good": not found.problems,
        "problems": [shown_problem(one) for one in found.problems],
        "rule": None if rule is None else rule.model_dump(mode="json", by_alias=True),
        "says": None if rule is None else description.listed([rule])[1:],
        "series": None
        if rule is None or draft.run is None
        else _about(session, rule, rules, draft.run, access.within(None)),
    }


class Edit(BaseModel):
    """One value in the text of a rule."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    text: RuleText
    path: Annotated[list[str | Annotated[int, Field(ge=0, le=100)]], Field(min_length=1, max_length=6)] = (
        Field(description="such as `[detector, below]`")
    )
    value: str | int | float | bool | dict[str, Any] | list[Any] | None = Field(
        description="what shall stand there; null: nothing"
    )


@router.post("/rules/edit")
def edit_rule(edit: Edit) -> dict[str, Any]:
    """The text with that value there; comments and other lines stay, where that can be done. Nothing is stored."""
    return {"text": drafts.changed(edit.text, edit.path, edit.value)}


@router.post("/rules/tests")
def test_rule(draft: Draft, request: Request, access: Asking) -> dict[str, Any]:
    """The drawn tests of a rule, run by the code that judges runs: what was drawn, how the alerts stood, what is expected. Nothing is stored."""
    with request.app.state.database.reading() as session:
        rules = request.app.state.rulebook.look(session).seen_by(access.within(None))
    found = drafts.checked(draft.text, draft.tests, rules, {})
    if found.rule is None or found.problems:
        return {"problems": [shown_problem(one) for one in found.problems], "tests": []}
    with turn(PATIENCE):
        return {"problems": [], "tests": played(found.cases, rules.with_draft(found.rule))}


@router.get("/rules/source/{rule}")
def get_rule_source(rule: str, request: Request, session: Reading, access: Asking) -> dict[str, Any]:
    """A rule in force and its drawn tests as YAML, to be read or to begin one's own from."""
    rules: RuleSet = request.app.state.rulebook.look(session).seen_by(access.within(None))
    found = rules.get(rule)
    if found is None:
        raise UnknownRule("No rule in force has this id; GET /api/v1/rules lists them.")
    if rule in rules.own:
        row = own_rules.versions(session, rule)[0]
        text, tests = row.text, row.tests
    else:
        text = written(found.model_dump(mode="json", by_alias=True, exclude_defaults=True))
        tests = _shipped().get(rule, "") if rules.origins[rule] == "built-in" else ""
    return {
        "rule": rule,
        "origin": rules.origins[rule],
        "pack": rules.packs[rule],
        "text": text,
        "tests": tests,
    }


@router.get("/rules/candidates")
def list_candidates(
    session: Reading,
    access: Asking,
    search: Annotated[str, Query(max_length=200, description="part of the name, the id or the project")] = "",
    tag: Annotated[str, Query(max_length=100, description="only runs with this tag")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Runs to try rules on, the latest first, with the tags that they gave themselves."""
    found = candidates(session, access.within(None), search=search, tag=tag, limit=limit)
    return {
        "runs": [
            {
                "run": one.run.id,
                "project": one.run.project,
                "name": one.run.name,
                "state": one.run.state,
                "last_step": one.run.last_step,
                "updated_at": one.run.updated_at,
                "tags": one.tags,
            }
            for one in found
        ]
    }


def _about(
    session: Reading, rule: Rule, rules: RuleSet, run: str, project: str | None
) -> dict[str, Any] | None:
    """Which series of the run the rule is about; None: there is no such run for whoever asks."""
    try:
        if project not in (None, get_run(session, run).project):
            return None
    except UnknownRun:
        return None
    keys = [one.key for one in rules.series_of(rule, subjects(session, run).values())]
    return {"run": run, "count": len(keys), "keys": keys[:MOST_SERIES_TOLD]}


@cache
def _shipped() -> dict[str, str]:
    """By rule, the text of the tests that ship with it."""
    found: dict[str, list[Any]] = {}
    for cases, _ in builtin_cases():
        for case in cases.tests:
            told = case.model_dump(mode="json", exclude_unset=True, exclude={"rule"})
            found.setdefault(case.rule, []).append(told)
    return {rule: written({"tests": tests}) for rule, tests in found.items()}
