"""What people ask for -> runs by id or name, and the rules of a pack; and how much work a question may be."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.errors import Invalid, UnknownRun
from foreshock_server.models import Run
from foreshock_server.rules.load import RuleSet, parse_pack, with_builtin_parts
from foreshock_server.store.runs import get_run


def find_run(session: Session, wanted: str, project: str | None = None) -> Run:
    """The run with this id, or the only one of this name (also `project/name`), within the project if one is said; else Invalid."""
    try:
        run = get_run(session, wanted)
        if project in (None, run.project):
            return run
    except UnknownRun:
        pass
    if "\0" in wanted:
        raise Invalid("The name of a run holds no NUL character.", field="runs")
    query = select(Run).where(
        Run.deleted_at.is_(None), (Run.project + "/" + Run.name == wanted) | (Run.name == wanted)
    )
    if project is not None:
        query = query.where(Run.project == project)
    named = list(session.scalars(query.order_by(Run.updated_at.desc()).limit(11)))
    if not named:
        raise Invalid(f"No run has the id or the name {wanted!r}; GET /api/v1/runs lists them.", field="runs")
    if len(named) > 1:
        ids = ", ".join(run.id for run in named[:10])
        raise Invalid(f"Several runs are called {wanted!r}; write the id of one: {ids}.", field="runs")
    return named[0]


def rules_of(text: str, name: str, *, aliases: bool = False) -> RuleSet:
    """The rules of this pack alone, and the built-in ones that its joint rules are about; BadRules says what is wrong in it."""
    pack = parse_pack(text, name, aliases=aliases)
    return with_builtin_parts(RuleSet(tuple(pack.rules), {rule.id: name for rule in pack.rules}))


def only(rules: RuleSet, wanted: Sequence[str]) -> RuleSet:
    """The rules with these ids and those that joint ones are about, all where none is named; Invalid for one that is not there."""
    if not wanted:
        return rules
    for one in wanted:
        if rules.get(one) is None:
            raise Invalid(f"There is no rule {one!r} among these rules.", field="rules")
    return rules.with_parts(wanted)


class Bounds:
    """How much may be read, rule by rule, and for how long. What is not bounded is a person's own machine."""

    def __init__(
        self,
        most_readings: float = float("inf"),
        most_seconds: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._left, self._most = most_readings, most_readings
        self._seconds, self._clock = most_seconds, clock
        self._end = clock() + most_seconds

    def spend(self, readings: float) -> None:
        """Before so many are read; Invalid when that is too much."""
        self._left -= readings
        if self._left < 0:
            raise Invalid(
                f"That is more than {self._most:,.0f} readings, counted once per rule that looks at them; ask for fewer runs "
                "or rules at a time, or use `foreshock rules backtest` beside the database.",
                field="runs",
            )

    def check(self) -> None:
        """Now and then; Invalid when it has taken too long."""
        if self._clock() > self._end:
            raise Invalid(
                f"That takes longer than {self._seconds:.0f} seconds; ask for fewer runs or rules at a time, or use "
                "`foreshock rules backtest` beside the database.",
                field="runs",
            )
