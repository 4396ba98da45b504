"""POST /rules/backtest and /rules/suggest: rules tried on stored runs. They store nothing, and one at a time is worked on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from foreshock_server.deps import PLAIN, WHOLE, Asking
from foreshock_server.errors import Invalid, TooFast
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.trial.asking import Bounds, only, rules_of
from foreshock_server.rules.trial.backtest import Asked, backtest
from foreshock_server.rules.trial.suggest import suggest

router = APIRouter(tags=["rules"])

MOST_READINGS = 10_000_000  # counted once per rule that looks at them
MOST_SECONDS = 60.0
LONGEST_PACK = 100_000  # characters

RunName = Annotated[str, Field(min_length=1, max_length=401, pattern=PLAIN)]
RuleId = Annotated[str, Field(min_length=1, max_length=100)]
Steps = Annotated[int, Field(ge=-(2**63), le=2**63 - 1, strict=False), WHOLE]

_alone = (
    threading.Lock()
)  # the work is Python's, so two at a time would only wait for each other, and ingest for both


class Trial(BaseModel):
    """Rules, and the runs to try them on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pack: Annotated[str, Field(max_length=LONGEST_PACK)] | None = Field(
        None, description="YAML of a rule pack; left out: the rules in force"
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
    rules = _rules(request, trial.pack, trial.rules)
    asked = [Asked(one, outcome=trial.outcomes.get(one)) for one in trial.runs]
    asked += [Asked(one, healthy=True) for one in trial.healthy]
    with _turn():
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
    healthy: Annotated[list[RunName], Field(min_length=1, max_length=500)] = Field(
        description="healthy runs, by id or name"
    )
    rate: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="the share of healthy runs in which it may fire, such as 0.05"
    )


@router.post("/rules/suggest")
def suggest_threshold(wanted: Wanted, request: Request, access: Asking) -> dict[str, Any]:
    """The threshold that keeps a rate of false alarms, and what it rests on; `refused` says why there is none."""
    rules = _rules(request, wanted.pack, [wanted.rule])
    with _turn():
        return suggest(
            request.app.state.database,
            rules.rules[0],
            wanted.healthy,
            wanted.rate,
            project=access.within(None),
            bounds=Bounds(MOST_READINGS, MOST_SECONDS),
        )


def _rules(request: Request, pack: str | None, wanted: list[str]) -> RuleSet:
    in_force: RuleSet = request.app.state.rules
    return only(in_force if pack is None else rules_of(pack, "pack"), wanted)


@contextmanager
def _turn() -> Iterator[None]:
    if not _alone.acquire(blocking=False):
        raise TooFast(
            "Rules are being tried on runs for somebody else; try again in some seconds.", retry_after=5.0
        )
    try:
        yield
    finally:
        _alone.release()
