"""A run -> what its rules remember: read once from its Alert rows, then kept while this process works on the run.

What is judged runs ahead of what is stored. `standing` is where the stored cursors stood when the memory agreed with them, `cursors`
is how far it has judged since; both parts of the difference, cursors and dirty alerts, are stored together or dropped together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from foreshock_server.models import Alert, Run, Writer
from foreshock_server.rules.applies import profile_of
from foreshock_server.rules.columns import Column, Plan, Subject, subjects
from foreshock_server.rules.guards import Calm
from foreshock_server.rules.incidents import Leader, Member, Message
from foreshock_server.rules.joint import still
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.pack import Rule
from foreshock_server.rules.references import Curve, curve_of
from foreshock_server.rules.shelf import Shelf
from foreshock_server.rules.state import Severity, State
from foreshock_server.rules.watch import Change, NewTask, Watch
from foreshock_server.store.runs import RUNNING

AlertKey = tuple[str, int]  # rule, series
WriterKey = tuple[int, str]  # attempt, writer


class Reach(NamedTuple):
    """How far a writer's blocks are evaluated, as stored, and how far they are there."""

    evaluated: int
    acked: int


@dataclass(eq=False)
class Memory:
    """Of one run."""

    run_id: str
    standing: dict[WriterKey, int]
    watches: dict[AlertKey, Watch] = field(default_factory=dict)
    awake: dict[str, set[int]] = field(default_factory=dict)  # rule that skims -> series it must not skip
    silences: dict[AlertKey, Watch] = field(
        default_factory=dict
    )  # under rules that ask whether a series comes
    derived: dict[str, dict[int, Watch]] = field(
        default_factory=dict
    )  # rule that derives its readings -> by series
    joints: dict[str, Watch] = field(default_factory=dict)  # by rule, of those about what others say
    renewing: list[Watch] = field(default_factory=list)  # under rules whose baseline a new task renews
    tasks: list[NewTask] = field(default_factory=list)  # that began in the block in course
    announced: bool = False  # the run says itself when a new task begins
    guarded: list[Watch] = field(default_factory=list)  # under rules that ask what a reading rests on
    calm: dict[tuple[int, str, int], Calm | None] = field(default_factory=dict)  # by attempt, writer, frame
    references: dict[tuple[str, str], Curve] = field(default_factory=dict)  # by run and series, as read
    firing: dict[str, dict[int, Member]] = field(default_factory=dict)  # rule -> its members, by series
    plans: dict[tuple[int, str, int], Plan] = field(default_factory=dict)  # by attempt, writer, frame
    partners: dict[tuple[int, str, int, str, int], tuple[int, ...]] = field(
        default_factory=dict
    )  # by attempt, writer, frame, rule and series: those of the frame that it is compared with
    shelves: dict[tuple[int, str, int], Shelf] = field(default_factory=dict)  # by the same
    subjects: dict[int, Subject] = field(default_factory=dict)  # by id; read when one is missing
    ended: bool = False  # the run had, when its silence was last looked at
    rules: RuleSet | None = None  # in force for this run; None: all
    retired: list[Alert] = field(
        default_factory=list
    )  # not ok, but no rule in force watches its series: to be resolved
    # Since it was stored:
    cursors: dict[WriterKey, int] = field(default_factory=dict)
    blocks: int = 0
    since: float | None = None  # when the first of them was judged, on the monotonic clock
    touched: set[AlertKey] = field(default_factory=set)
    changes: list[Change] = field(default_factory=list)
    messages: list[tuple[str, Message]] = field(default_factory=list)  # with the rule of each
    _beside: dict[int, list[tuple[Watch, int]]] = field(default_factory=dict)
    _places: dict[str, tuple[int, int]] = field(default_factory=dict)  # by rule: of so many series, so many

    @classmethod
    def load(cls, session: Session, run_id: str, rules: RuleSet) -> Memory:
        """As the session's moment of the database has it."""
        memory = cls(run_id, cursors_of(session, run_id))
        memory.cursors = dict(memory.standing)
        run = session.get(Run, run_id)
        if run is not None:
            rules = rules.of_run(profile_of(run.project, run.config))
        memory.rules = rules
        rows = session.scalars(select(Alert).where(Alert.run_id == run_id)).all()
        if rows:
            memory.catch_up(session)
        for row in rows:
            series, rule = memory.subjects[row.series_id], rules.get(row.rule)
            if row.state == State.FIRING.value:
                leader = row.memory.get("leader")
                member = Member(row.episode, Severity(row.severity), Leader(*leader) if leader else None)
                memory.firing.setdefault(row.rule, {})[row.series_id] = member
            if rule is not None and (rule.joint is not None or rule.watches(series)):
                memory._keep(Watch.resume(rule, series, row))
            elif row.state != State.OK.value:  # under a rule that is gone it would fire for ever
                memory.retired.append(row)
        for watch in memory.joints.values():
            watch.parts = still(watch.parts, memory.firing.keys() - {row.rule for row in memory.retired})
        return memory

    def agrees(self, reach: Mapping[WriterKey, Reach]) -> bool:
        """False when somebody else has moved one of these cursors."""
        return all(self.standing.get(key, 0) == one.evaluated for key, one in reach.items())

    def has_seen(self, reach: Mapping[WriterKey, Reach]) -> bool:
        """True when nothing of this is new."""
        return all(self.cursors.get(key, 0) >= one.acked for key, one in reach.items())

    def catch_up(self, session: Session) -> dict[int, Subject]:
        """All series of the run, by id, of which only the new ones are read: what is known of one never changes."""
        self.subjects |= subjects(session, self.run_id, after=max(self.subjects, default=0))
        return self.subjects

    def subject(self, session: Session, series_id: int) -> Subject:
        """The series with this id."""
        if series_id not in self.subjects:
            self.catch_up(session)
        return self.subjects[series_id]

    def places(self, rule: Rule) -> int:
        """How many of the series that are known the rule watches; counted anew when there are more."""
        counted, number = self._places.get(rule.id, (0, 0))
        if counted != len(self.subjects):
            number = sum(rule.watches(one) for one in self.subjects.values())
            self._places[rule.id] = (len(self.subjects), number)
        return number

    def watch(self, session: Session, rule: Rule, series_id: int) -> Watch:
        """The rule on this series."""
        found = self.watches.get((rule.id, series_id))
        return found or self._keep(Watch.begin(rule, self.subject(session, series_id)))

    def beside(self, companion: int) -> list[tuple[Watch, int]]:
        """The watches whose readings rest on this series, and which of its rule's needs it is."""
        found = self._beside.get(companion)
        if found is None:
            about = self.subjects[companion]
            found = self._beside[companion] = [
                (watch, number)
                for watch in self.guarded
                for number, need in enumerate(watch.rule.needs)
                if need.fits(about, watch.series)
            ]
        return found

    def begin_tasks(self, tasks: Sequence[NewTask]) -> None:
        """Let every watch know that renews its baseline, also one whose first reading is still to come in this block."""
        self.tasks += tasks
        for watch in self.renewing:
            watch.waiting = sorted([*watch.waiting, *tasks], key=lambda one: one.step)

    def unshelve(self, key: AlertKey) -> None:
        """Judge what lies on the shelves of this watch."""
        for shelf in self.shelves.values():
            if key in shelf.watched:
                shelf.wake()

    def reference(self, session: Session, run: str, watch: Watch) -> Curve:
        """What that run read of the series of this watch; read once, as it is compared with a run that has ended."""
        key = self.subject(session, watch.series.series_id).key
        if (run, key) not in self.references:
            how = watch.rule.reduction or "mean"
            self.references[run, key] = curve_of(session, self.run_id, run, key, how)
        return self.references[run, key]

    def shelf(self, key: WriterKey, frame: int, columns: Sequence[Column]) -> Shelf:
        """Where readings of this frame may lie; those of the same series in other frames are judged first."""
        own = self.shelves.get((*key, frame))
        if own is None:
            own = Shelf(key[0], columns, lambda one: self.watches[one.rule.id, one.series_id], self.note)
            own.meet(self.shelves.values())
            self.shelves[(*key, frame)] = own
        own.wake_others()
        return own

    def settle(self) -> None:
        """Judge what lies on the shelves; it brings no transition."""
        for shelf in self.shelves.values():
            shelf.clear()

    def note(self, watch: Watch) -> None:
        """It was changed: store it with the cursors, and let it be skipped or not."""
        self.touched.add((watch.rule.id, watch.series.series_id))
        self._wake(watch)

    @property
    def urgent(self) -> bool:
        """True when there is something to tell: what is merely pending can wait, as noise alone makes some series of every run so."""
        return bool(self.changes or self.messages or self.retired)

    @property
    def visible(self) -> bool:
        """True when someone who looks at the run could see a difference from what is stored."""
        return bool(self.changes or self.retired) or any(self.watches[key].seen for key in self.touched)

    def stored(self) -> None:
        """All of it is."""
        for key in self.touched:
            self.watches[key].rest()
        self.standing = dict(self.cursors)
        self.blocks, self.since = 0, None
        self.touched, self.changes, self.messages, self.retired = set(), [], [], []

    def _keep(self, watch: Watch) -> Watch:
        self.watches[watch.rule.id, watch.series.series_id] = watch
        if watch.rule.listening is not None:
            self.silences[watch.rule.id, watch.series.series_id] = watch
        if watch.rule.derive is not None:
            self.derived.setdefault(watch.rule.id, {})[watch.series.series_id] = watch
        if watch.rule.joint is not None:
            self.joints[watch.rule.id] = watch
        if watch.rule.renew:
            self.renewing.append(watch)
            watch.waiting += self.tasks
        self.announced = self.announced or watch.rule.boundary == "announced"
        if watch.rule.needs:
            self.guarded.append(watch)
            self._beside.clear()
            self.calm.clear()
        self._wake(watch)
        return watch

    def _wake(self, watch: Watch) -> None:
        if watch.rule.detector.skips:
            awake = self.awake.setdefault(watch.rule.id, set())
            (awake.discard if watch.may_be_skipped else awake.add)(watch.series.series_id)


def cursors_of(session: Session, run_id: str) -> dict[WriterKey, int]:
    """How far the blocks of each writer of the run are evaluated, as stored."""
    found = session.connection().execute(_CURSORS, {"run": run_id})
    return {(attempt, writer): seq for attempt, writer, seq in found}


def waiting(session: Session) -> dict[str, dict[WriterKey, Reach]]:
    """By run, the writers with acknowledged blocks beyond the stored cursor."""
    found: dict[str, dict[WriterKey, Reach]] = {}
    for run_id, attempt, writer, evaluated, acked in session.connection().execute(_WAITING):
        found.setdefault(run_id, {})[attempt, writer] = Reach(evaluated, acked)
    return found


def reach_of(session: Session, run_id: str) -> dict[WriterKey, Reach]:
    """How far each writer of the run is evaluated, as stored, and how far it is there."""
    query = select(Writer.attempt, Writer.writer, Writer.evaluated_seq, Writer.acked_seq)
    found = session.execute(query.where(Writer.run_id == run_id))
    return {(attempt, writer): Reach(evaluated, acked) for attempt, writer, evaluated, acked in found}


def alive(session: Session, since: float) -> list[str]:
    """The runs that have not ended and changed since then."""
    query = select(Run.id).where(Run.state == RUNNING, Run.updated_at >= since, Run.deleted_at.is_(None))
    return list(session.scalars(query))


def not_quiet(session: Session, rules: Collection[str]) -> list[str]:
    """The runs in which an alert of one of these rules fires or is pending."""
    query = select(Alert.run_id).join(Run, Run.id == Alert.run_id).distinct()
    query = query.where(Alert.rule.in_(rules), Alert.state != State.OK.value, Run.deleted_at.is_(None))
    return list(session.scalars(query))


# Made once: to put them together takes longer than to run them.
_CURSORS = select(Writer.attempt, Writer.writer, Writer.evaluated_seq).where(
    Writer.run_id == bindparam("run")
)
_WAITING = (
    select(Writer.run_id, Writer.attempt, Writer.writer, Writer.evaluated_seq, Writer.acked_seq)
    .where(Writer.evaluated_seq < Writer.acked_seq)
    .order_by(Writer.run_id, Writer.attempt, Writer.writer)
)
