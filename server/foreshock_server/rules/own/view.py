"""What was made on the page -> JSON; and which ids are taken by whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from foreshock_server.models import RuleChange
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.own.drafts import Problem
from foreshock_server.store import own_rules


def taken(session: Session, rules: RuleSet, but: str | None) -> Mapping[str, str]:
    """Ids that a rule may not have, and why: those of files, of rules made here, and of such that were deleted, which can be restored."""
    files = {one: f"the id of a rule that is {_from(origin)}" for one, origin in rules.origins.items()}
    own = {
        row.rule: "the id of a rule that was made here"
        + (" and deleted" if row.kind == own_rules.DELETED else "")
        for row in own_rules.current(session, deleted=True)
    }
    return {one: why for one, why in {**files, **own}.items() if one != but}


def _from(origin: str) -> str:
    return origin if origin in ("built-in", "made here") else f"in {origin}"


def shown_problem(problem: Problem) -> dict[str, Any]:
    """As the page reads it."""
    return {
        "part": problem.part,
        "says": problem.says,
        "path": problem.path,
        "line": problem.line,
        "column": problem.column,
    }


def shown(row: RuleChange, problem: str | None = None) -> dict[str, Any]:
    """A version of a rule; `problem`: why it is not in force."""
    return {
        "rule": row.rule,
        "version": row.version,
        "kind": row.kind,
        "project": row.project,
        "pack": row.pack,
        "replaces": row.replaces,
        "text": row.text,
        "tests": row.tests,
        "note": row.note,
        "made_by": row.made_by,
        "made_at": row.made_at,
        "problem": problem,
    }
