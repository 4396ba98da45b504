"""The rules of files, and those made on the page as they are now. Whoever works with rules looks here, and sees a change within a second."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from foreshock_server.models import RuleChange
from foreshock_server.rules.load import RuleSet, Scope
from foreshock_server.rules.own.drafts import rule_in
from foreshock_server.rules.pack import Rule
from foreshock_server.store import own_rules

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Picture:
    revision: int
    rules: RuleSet
    read: Mapping[str, tuple[int, Rule]] = field(default_factory=dict)  # by id: the version, and what it says
    problems: Mapping[str, str] = field(default_factory=dict)  # by id: why it is not in force


class Rulebook:
    """Any thread may look; a picture is made anew when a number in the database has grown."""

    def __init__(self, files: RuleSet) -> None:
        self.files = files
        self._picture = _Picture(0, files)

    def look(self, session: Session) -> RuleSet:
        """The rules as the session sees them; the same object as long as nothing changed."""
        picture = self._picture
        revision = own_rules.revision(session)
        if revision != picture.revision:
            picture = self._picture = self._read(session, revision, picture)
        return picture.rules

    @property
    def last(self) -> RuleSet:
        """As they were when somebody last looked."""
        return self._picture.rules

    @property
    def problems(self) -> Mapping[str, str]:
        """By id, why rules made here are not in force: this release reads them differently, or took their id for a rule of its own."""
        return self._picture.problems

    def runbook_of(self, rule_id: str) -> dict[str, Any] | None:
        """What people are told about a rule, as it was when somebody last looked."""
        return self.last.runbook_of(rule_id)

    def _read(self, session: Session, revision: int, before: _Picture) -> _Picture:
        read: dict[str, tuple[int, Rule]] = {}
        problems: dict[str, str] = {}
        own: list[tuple[Rule, str, Scope]] = []
        for row in own_rules.current(session):
            kept = before.read.get(row.rule)
            # Unchanged rules stay the same objects: what was made for them is not made again.
            rule, problem = (kept[1], None) if kept and kept[0] == row.version else self._rule(row)
            if rule is None or problem:
                problems[row.rule] = problem or "It cannot be read."
                log.warning("The rule %s, which was made on the page, is not in force: %s", row.rule, problem)
                continue
            read[row.rule] = (row.version, rule)
            own.append((rule, row.pack, Scope(row.project, row.replaces)))
        return _Picture(revision, self.files.with_own(own), read, problems)

    def _rule(self, row: RuleChange) -> tuple[Rule | None, str | None]:
        rule, problems = rule_in(row.text)
        if rule is None:
            return None, problems[0].says
        if self.files.get(rule.id) is not None:
            return (
                None,
                f"A rule of this id is there since ({self.files.origins[rule.id]}); copy this one under another.",
            )
        return rule, None
