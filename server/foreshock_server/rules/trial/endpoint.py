"""POST /rules/backtest and /rules/suggest: rules tried on stored runs. They store nothing, and one at a time is worked on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from foreshock_server.deps import PLAIN, WHOLE, Access, Asking
from foreshock_server.errors import Invalid
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.own.drafts import LONGEST_TEXT, rule_in
from foreshock_server.rules.trial.asking import Bounds, only, rules_of
from foreshock_server.rules.trial.backtest import Asked, backtest
from foreshock_server.rules.trial.suggest import suggest
from foreshock_server.rules.trial.turns import turn

router = APIRouter(tags=["rules"])

MOST_READINGS = 10_000_000  # counted once per rule that looks at them
MOST_SECONDS = 60.0
LONGEST_PACK = 100_000  # characters

RunName = Annotated[str, Field(min_length=1, max_length=401, pattern=PLAIN)]
RuleId = Annotated[str, Field(min_length=1, max_length=100)]
Steps = Annotated[int, Field(ge=-(2**63), le=2**63 - 1, strict=False), WHOLE]


class Trial(BaseModel):
    """Rules, and the runs to try them on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pack: Annotated[str, Field(max_length=LONGEST_PACK)] | None = Field(
        None, description="YAML of a rule pack; left out: the rules in force"
    )
    draft: Annotated[str, Field(max_length=LONGEST_TEXT)] | None = Field(
        None, description="YAML of one rule that is being written, instead of a pack"
    )
    rules: Annotated[list[RuleId], Field(max_length=200)] = Field(
        default=[], description="only the rules with these ids; empty: all"
    )
    runs: Annotated[list[RunName], Field(max_length=200)] = Field(
        default=[], description="runs in which something went wrong, by id or name"
    )
    healthy: Annotated[list[RunName], Field(max_length=500)] = Field(
        default=[], description="runs in which nothing should fire"
    )
    outcomes: Annotated[dict[RunName, Steps], Field(max_length=200)] = Field(
        default={},
        description="run, as `runs` names it -> the step at which its outcome showed; the lead is counted from it",
    )


@router.post("/rules/backtest")
def backtest_rules(trial: Trial, request: Request, access: Asking) -> dict[str, Any]:
    """Where each rule would have fired in these runs, by the code that judges runs while they go on."""
    if not trial.runs and not trial.healthy:
        raise Invalid("Name a run at least, in `runs` or in `healthy`.", field="runs")
    stray = set(trial.outcomes) - set(trial.runs)
    if stray:
        raise Invalid(f"`outcomes` names {min(stray)!r}, which is not among `runs`.", field="outcomes")
    rules = _rules(request, access, trial, trial.rules)
    asked = [Asked(one, outcome=trial.outcomes.get(one)) for one in trial.runs]
    asked += [Asked(one, healthy=True) for one in trial.healthy]
    with turn():
        return backtest(
            request.app.state.database,
            rules,
            asked,
            project=access.within(None),
            bounds=Bounds(MOST_READINGS, MOST_SECONDS),
        )


class Wanted(BaseModel):
    """A rule, runs in which it should not fire, and how often it may all the same."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rule: RuleId = Field(
        description="id of a rule whose detector has one number that says how bad is bad: all kinds but `absence` and `non-finite`"
    )
    pack: Annotated[str, Field(max_length=LONGEST_PACK)] | None = Field(
        None, description="YAML of the rule pack that it is in; left out: the rules in force"
    )
    draft: Annotated[str, Field(max_length=LONGEST_TEXT)] | None = Field(
        None, description="YAML of one rule that is being written, instead of a pack"
    )
    healthy: Annotated[list[RunName], Field(min_length=1, max_length=500)] = Field(
        description="healthy runs, by id or name"
    )
    rate: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="the share of healthy runs in which it may fire, such as 0.05"
    )


@router.post("/rules/suggest")
def suggest_threshold(wanted: Wanted, request: Request, access: Asking) -> dict[str, Any]:
    """The threshold that keeps a rate of false alarms, and what it rests on; `refused` says why there is none."""
    rules = _rules(request, access, wanted, [wanted.rule])
    with turn():
        return suggest(
            request.app.state.database,
            rules.rules[0],
            wanted.healthy,
            wanted.rate,
            project=access.within(None),
            bounds=Bounds(MOST_READINGS, MOST_SECONDS),
        )


def _rules(request: Request, access: Access, trial: Trial | Wanted, wanted: list[str]) -> RuleSet:
    with request.app.state.database.reading() as session:  # not for as long as the trial takes
        in_force: RuleSet = request.app.state.rulebook.look(session).seen_by(access.within(None))
    if trial.draft is not None:
        rule, problems = rule_in(trial.draft)
        if rule is None:
            raise Invalid(f"`draft`: {problems[0].says}", field="draft")
        return only(in_force.with_draft(rule), wanted or [rule.id])
    return only(in_force if trial.pack is None else rules_of(trial.pack, "pack"), wanted)
