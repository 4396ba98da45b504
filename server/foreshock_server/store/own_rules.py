"""Rules made on the page, as rows: every change is one, with the whole rule as it is since. Nothing is overwritten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from foreshock_server.errors import Invalid, UnknownRule
from foreshock_server.models import RuleChange

CREATED, CHANGED, DELETED, RESTORED = "created", "changed", "deleted", "restored"
MOST_RULES = 500  # that are not deleted: each is looked at for every series of every run


@dataclass(frozen=True)
class Content:
    """What of a rule people write."""

    text: str  # YAML
    tests: str = ""  # YAML
    pack: str = "yours"
    replaces: str | None = None  # the rule that it stands in for


def revision(session: Session) -> int:
    """The number of the last change of any rule; 0: there was none."""
    return session.scalar(select(func.max(RuleChange.number))) or 0


def current(session: Session, project: str | None = None, *, deleted: bool = False) -> Sequence[RuleChange]:
    """The last change of each rule, by id; of a project: its own and those of all. `deleted`: also of those that are gone."""
    last = select(func.max(RuleChange.number)).group_by(RuleChange.rule)
    query = select(RuleChange).where(RuleChange.number.in_(last)).order_by(RuleChange.rule)
    if project is not None:
        query = query.where(RuleChange.project.is_(None) | (RuleChange.project == project))
    if not deleted:
        query = query.where(RuleChange.kind != DELETED)
    return session.scalars(query).all()


def versions(session: Session, rule: str) -> Sequence[RuleChange]:
    """Every change of the rule, the latest first; UnknownRule when there was none."""
    if "\0" in rule:
        raise UnknownRule
    found = session.scalars(
        select(RuleChange).where(RuleChange.rule == rule).order_by(RuleChange.version.desc())
    ).all()
    if not found:
        raise UnknownRule
    return found


def lock(session: Session) -> None:
    """Let nobody else change a rule until the transaction ends: their numbers have no gaps and grow as they are committed.

    SQLite has one writer, so there it takes nothing.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE rule_changes IN SHARE ROW EXCLUSIVE MODE"))


def append(
    session: Session,
    rule: str,
    kind: str,
    content: Content,
    *,
    project: str | None,
    note: str,
    made_by: str,
    now: float,
) -> RuleChange:
    """The next change of the rule. Call `lock` before anything that it depends on is read."""
    if kind in (CREATED, RESTORED) and len(current(session)) >= MOST_RULES:
        raise Invalid(f"There are {MOST_RULES} rules made here already; delete some first.", field="text")
    before = session.scalar(select(func.max(RuleChange.version)).where(RuleChange.rule == rule)) or 0
    change = RuleChange(
        number=revision(session) + 1,
        rule=rule,
        version=before + 1,
        kind=kind,
        project=project,
        pack=content.pack,
        replaces=content.replaces,
        text=content.text,
        tests=content.tests,
        note=note,
        made_by=made_by,
        made_at=now,
    )
    session.add(change)
    session.flush()
    return change
