"""A stored run -> what these rules would have said of it, by the code that judges runs while they go on. Stores nothing.

Blocks come writer by writer, in the order of attempts, whatever their borders were: a rule sees each reading of a series in the
order in which it was recorded. While the run went on it was the same, but for readings of an earlier attempt that arrived after the
next had begun, and for a series that two writers of one attempt recorded: those were judged as they came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from foreshock_server.rules.columns import Subject, subjects
from foreshock_server.rules.incidents import Message
from foreshock_server.rules.judge import Judge
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.memory import Memory, Reach
from foreshock_server.rules.watch import Change
from foreshock_server.store.latest import list_series
from foreshock_server.store.recorded import Recording


@dataclass(frozen=True)
class Said:
    """One transition, and the attempt whose reading brought it."""

    attempt: int
    change: Change
    told: bool = False  # by a message; silences, storms and the choice of channels come after that

    @property
    def rule(self) -> str:
        """The rule's id."""
        return self.change.watch.rule.id

    @property
    def key(self) -> str:
        """The series."""
        return self.change.watch.series.key


@dataclass(frozen=True)
class Looked:
    """What there is for the rules to look at in a run."""

    series: Mapping[str, tuple[Subject, ...]]  # by rule
    readings: Mapping[str, int]  # by rule, over its series
    steps: Mapping[str, int] = field(default_factory=dict)  # by rule, of the series with most readings


def look(session: Session, run_id: str, rules: RuleSet) -> Looked:
    """Which series of the run each rule watches, and how many readings these have."""
    known = subjects(session, run_id)
    points = {one.series_id: one.points for one in list_series(session, run_id)}
    watched = {rule.id: tuple(rules.series_of(rule, known.values())) for rule in rules.rules}
    counts = {rule: [points.get(one.series_id, 0) for one in some] for rule, some in watched.items()}
    return Looked(
        watched,
        {rule: sum(some) for rule, some in counts.items()},
        {rule: max(some, default=0) for rule, some in counts.items()},
    )


def _nothing() -> None:
    return None


def _ignored(_memory: Memory) -> None:
    return None


def replay(
    session: Session,
    run_id: str,
    rules: RuleSet,
    meanwhile: Callable[[], None] = _nothing,
    after: Callable[[Memory], None] = _ignored,
) -> Iterator[Said]:
    """The transitions, one after another as their readings were recorded. The session must see one moment throughout.

    `meanwhile` is called now and then, and may end it by raising; `after` is given what the rules remember at the end.
    """
    known = subjects(session, run_id)
    wanted = {
        number
        for number, one in known.items()
        if rules.matching(one) or rules.comparing(one) or one.statistic in rules.companions
    }
    if not wanted:
        return
    asked = [rule.listening for rule in rules.rules if rule.listening is not None]
    recording = Recording(session, run_id, wanted, clocks=any(one.steps is not None for one in asked))
    judge = Judge(rules, recording)
    memory = Memory(run_id, {})
    for key, acked in recording.reach.items():
        while memory.cursors.get(key, 0) < acked:
            meanwhile()
            judge(session, memory, {key: Reach(0, acked)})
            changes, messages = memory.changes, set(memory.messages)
            memory.stored()  # nothing is: only what happened since shall be told next
            yield from (Said(key[0], change, _message(change) in messages) for change in changes)
    memory.settle()
    after(memory)


def _message(change: Change) -> tuple[str, Message]:
    """The message that was sent if this change was worth one."""
    about = Message(change.watch.series.series_id, change.episode, change.kind)
    return change.watch.rule.id, about
