"""The tables. Every table with volume has `run_id` first in its key, so that PostgreSQL partitions by run.

Times are float64 seconds since the epoch, UTC. Steps are int64. JSON columns hold what people wrote or what only code reads.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Double,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Constraints carry names from the first revision on: SQLite can only drop what has one."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it as a class attribute)
        int: BigInteger,
        float: Double,
        str: Text,
        dict[str, Any]: JSON,
        list[Any]: JSON,
        bytes: LargeBinary,
    }


class Run(Base):
    """One training run, over all its attempts."""

    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project: Mapped[str] = mapped_column(String(200), index=True)
    name: Mapped[str] = mapped_column(String(200))
    config: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(
        String(16)
    )  # running | finished | failed; "silent" is derived from updated_at
    created_at: Mapped[float]
    updated_at: Mapped[float] = mapped_column(index=True)  # when a block, an alert or a state last arrived
    revision: Mapped[int] = mapped_column(
        default=0
    )  # grows with each change that a viewer could see; the cursor of live updates
    last_attempt: Mapped[int | None]  # the latest attempt that delivered a reading
    last_step: Mapped[int | None]  # the furthest step of that attempt
    points: Mapped[int] = mapped_column(default=0)  # readings stored
    deleted_at: Mapped[float | None]  # set: to everybody it is gone, and its rows are being removed
    # What people say about it; see store/shelf.py.
    owner: Mapped[str | None] = mapped_column(String(100))  # at first the name of the key that opened it
    archived_at: Mapped[float | None]  # set: lists leave it out unless they are asked
    trashed_at: Mapped[float | None]  # set: likewise, nobody is told of it, and in a week it is deleted
    note: Mapped[str | None]  # plain text
    note_by: Mapped[str | None] = mapped_column(String(100))  # the key under which it was written
    note_at: Mapped[float | None]
    noted_at: Mapped[float | None] = mapped_column(index=True)  # when any of that, or a tag, last changed


class Tag(Base):
    """A word that people put on a run."""

    __tablename__ = "tags"

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tag: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)


class Project(Base):
    """What is settled for all runs of a project."""

    __tablename__ = "projects"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    retention_days: Mapped[float | None]  # runs without a change for longer are deleted; NULL: kept
    created_at: Mapped[float]


class Key(Base):
    """A secret that lets programs and people in. Only its hash rests here."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)  # travels in the key, and names it in lists
    digest: Mapped[str] = mapped_column(String(64))  # sha256 of the secret, which is random and long
    name: Mapped[str] = mapped_column(String(100))
    project: Mapped[str | None] = mapped_column(String(200))  # only this project's runs; NULL: all
    scopes: Mapped[list[Any]]  # some of ingest, read, admin
    created_at: Mapped[float]
    used_at: Mapped[float | None]  # to the minute
    revoked_at: Mapped[float | None]


class PageSession(Base):
    """A browser that was signed in with a key. It ends with its time, with its key, or at a sign-out."""

    __tablename__ = "sessions"

    digest: Mapped[str] = mapped_column(
        String(64), primary_key=True
    )  # of the cookie's token; see auth/keys.py
    key_id: Mapped[str] = mapped_column(String(32))  # "settings": the key of the server's settings
    created_at: Mapped[float]
    expires_at: Mapped[float]


class Attempt(Base):
    """One life of a run's process; a resume starts the next."""

    __tablename__ = "attempts"

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(String(16))
    info: Mapped[dict[str, Any]]
    started_at: Mapped[float]
    finished_at: Mapped[float | None]
    first_step: Mapped[int | None]  # the earliest it delivered: from there on it supersedes earlier attempts


class Writer(Base):
    """One process of an attempt, and how far its blocks were stored and evaluated."""

    __tablename__ = "writers"
    __table_args__ = (
        Index(
            "ix_writers_unevaluated",
            "run_id",
            sqlite_where=text("evaluated_seq < acked_seq"),
            postgresql_where=text("evaluated_seq < acked_seq"),
        ),
        Index(
            "ix_writers_untallied",
            "run_id",
            sqlite_where=text("tallied_seq < acked_seq"),
            postgresql_where=text("tallied_seq < acked_seq"),
        ),
        Index(
            "ix_writers_unsealed",
            "run_id",
            sqlite_where=text("sealed_seq < acked_seq"),
            postgresql_where=text("sealed_seq < acked_seq"),
        ),
    )

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    writer: Mapped[str] = mapped_column(String(64), primary_key=True)
    floor: Mapped[int] = mapped_column(default=1)  # nothing below this seq will come again
    acked_seq: Mapped[int] = mapped_column(default=0)  # all of floor..acked_seq is stored
    evaluated_seq: Mapped[int] = mapped_column(default=0)  # the rules' durable cursor
    tallied_seq: Mapped[int] = mapped_column(default=0)  # counted in the rows of its series
    sealed_seq: Mapped[int] = mapped_column(default=0)  # resting in segments; never beyond the cursors above
    final_seq: Mapped[int | None]  # its last block, as told when the attempt closed; NULL: not told
    dropped: Mapped[int] = mapped_column(default=0)
    lost: Mapped[dict[str, Any]] = mapped_column(default=dict)
    cost: Mapped[dict[str, Any]] = mapped_column(default=dict)
    seen_at: Mapped[float]


class Series(Base):
    """One statistic of one place in the model."""

    __tablename__ = "series"
    __table_args__ = (
        UniqueConstraint("run_id", "key_hash"),
        Index("ix_series_run_id_family", "run_id", "family"),  # a list of runs shows which families each has
    )

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    series_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # 1, 2, … within the run
    key: Mapped[str]
    key_hash: Mapped[str] = mapped_column(
        String(40)
    )  # sha1 of the key: keys may be longer than an index allows
    statistic: Mapped[str] = mapped_column(String(200))
    family: Mapped[str] = mapped_column(String(100))
    place: Mapped[str]
    labels: Mapped[dict[str, Any]]
    unit: Mapped[str] = mapped_column(String(40))
    dtype: Mapped[str] = mapped_column(String(3))
    about: Mapped[dict[str, Any]]
    axis: Mapped[dict[str, Any] | None] = mapped_column(
        JSON(none_as_null=True)
    )  # of a vector: what its entries are, and how many; NULL: one number
    # What follows counts what is tallied (see Writer); store/latest.py adds the blocks behind it.
    first_step: Mapped[int | None]
    last_attempt: Mapped[int | None]  # of the latest reading: highest attempt, then highest step
    last_step: Mapped[int | None]
    last_value: Mapped[float | None]  # NULL when the last reading was not finite; see last_text
    last_text: Mapped[str | None] = mapped_column(
        String(16)
    )  # "NaN" | "Infinity" | "-Infinity" for such a reading
    points: Mapped[int] = mapped_column(default=0)
    nonfinite: Mapped[int] = mapped_column(default=0)


class Frame(Base):
    """The series that one writer records together, in the order of its values."""

    __tablename__ = "frames"

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    writer: Mapped[str] = mapped_column(String(64), primary_key=True)
    frame: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    dtype: Mapped[str] = mapped_column(String(3))
    series_ids: Mapped[list[Any]]
    widths: Mapped[list[Any] | None] = mapped_column(
        JSON(none_as_null=True)
    )  # entries of each vector, null of each number; NULL: all are numbers


class Block(Base):
    """Consecutive steps as they travelled; (run, attempt, writer, seq) is what makes ingest idempotent."""

    __tablename__ = "blocks"
    __table_args__ = (
        Index("ix_blocks_run_id_first_step", "run_id", "first_step"),
        {"postgresql_partition_by": "HASH (run_id)"},
    )

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    writer: Mapped[str] = mapped_column(String(64), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    received_at: Mapped[float]
    first_step: Mapped[int | None]
    last_step: Mapped[int | None]
    points: Mapped[int]
    rows: Mapped[bytes]  # msgpack list of row groups, arrays as little-endian bytes, exactly as validated


class Clock(Base):
    """When the readings of some segments were taken: the steps and times of a frame, once for all its series."""

    __tablename__ = "clocks"
    __table_args__ = (
        Index("ix_clocks_steps", "run_id", "attempt", "first_step", "last_step"),
        {"postgresql_partition_by": "HASH (run_id)"},
    )

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    writer: Mapped[str] = mapped_column(String(64), primary_key=True)
    frame: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    first_seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last_seq: Mapped[int]
    rows: Mapped[int]
    first_step: Mapped[int]  # the lowest
    last_step: Mapped[int]  # the highest
    first_time: Mapped[float]  # of the first row, and of the last: between them an overview estimates
    last_time: Mapped[float]
    data: Mapped[bytes]  # steps, times, and the seq that brought each; see store/segments.py


class Segment(Base):
    """Many steps of one series: what rests of sealed blocks."""

    __tablename__ = "segments"
    __table_args__ = (
        # By it a few steps of a long series are found without a look at the others.
        Index("ix_segments_steps", "run_id", "series_id", "attempt", "first_step", "last_step", "nonfinite"),
        {"postgresql_partition_by": "HASH (run_id)"},
    )

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    series_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    writer: Mapped[str] = mapped_column(String(64), primary_key=True)
    frame: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    first_seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    first_step: Mapped[int]  # the lowest
    last_step: Mapped[int]  # the highest
    points: Mapped[int]
    nonfinite: Mapped[int]
    low: Mapped[float | None]  # of the finite ones
    high: Mapped[float | None]
    data: Mapped[bytes]  # which rows of the clock there are, and the values; see store/segments.py


class Rollup(Base):
    """The course of one series in buckets of 64, 512, … steps, for long ranges."""

    __tablename__ = "rollups"
    __table_args__ = {"postgresql_partition_by": "HASH (run_id)"}  # noqa: RUF012 (SQLAlchemy reads it as a class attribute)

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    series_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # 1 to 5
    chunk: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # of 256 buckets
    data: Mapped[bytes]  # see store/rollups.py


class Merge(Base):
    """How far the readings of several ranks of an attempt have become one."""

    __tablename__ = "merges"

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step: Mapped[int]  # up to this step, included; the durable cursor
    seen: Mapped[int]  # acknowledged blocks of the ranks, all together, when that was decided
    yardsticks: Mapped[dict[str, Any]]  # series -> how far its ranks were from each other in its first steps


class Alert(Base):
    """The state of one rule on one series of one run, with what its detector remembers."""

    __tablename__ = "alerts"
    __table_args__ = (Index("ix_alerts_run_id_state_severity", "run_id", "state", "severity"),)

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    rule: Mapped[str] = mapped_column(String(100), primary_key=True)
    series_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(String(16), index=True)  # ok | pending | firing
    severity: Mapped[str] = mapped_column(
        String(16)
    )  # warning | critical: of the episode in course, else of the rule
    episode: Mapped[int] = mapped_column(default=0)  # counts firings
    since_step: Mapped[int | None]  # first breach of the episode
    fired_step: Mapped[int | None]
    last_step: Mapped[int | None]  # last reading evaluated
    attempt: Mapped[int] = mapped_column(default=1)
    memory: Mapped[dict[str, Any]]  # machine and detector, as rules/ writes and reads them
    reading: Mapped[
        dict[str, Any]
    ]  # value, baseline, threshold, clear, forecast, message of the last evaluation


class Transition(Base):
    """One change of an alert's state: the row that notify/ reads. Deterministic key, so evaluating twice writes it once."""

    __tablename__ = "transitions"

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    rule: Mapped[str] = mapped_column(String(100), primary_key=True)
    series_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    episode: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)  # fired | escalated | resolved
    severity: Mapped[str] = mapped_column(String(16))
    step: Mapped[int]
    since_step: Mapped[int | None]
    at: Mapped[float]  # time of the reading, from the training process
    created_at: Mapped[float]
    detail: Mapped[dict[str, Any]]  # value, baseline, threshold, forecast, message, reason


class Incident(Base):
    """The alerts of one family that fire in one run at the same time: what people are told about, once when it begins and once when it
    is over."""

    __tablename__ = "incidents"
    __table_args__ = (Index("ix_incidents_state_next_at", "state", "next_at"),)

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # 1, 2, … within the run
    family: Mapped[str] = mapped_column(String(200))  # of its rules
    state: Mapped[str] = mapped_column(String(16))  # open | resolved
    severity: Mapped[str] = mapped_column(String(16))  # the worst so far
    inhibits: Mapped[bool]  # while it is open, the others of the run are not told
    firing: Mapped[list[Any]]  # [rule, series_id, episode] of those that lead their rule's alerts and go on
    rules: Mapped[list[Any]]  # all that had a part
    # The transition that was sent; NULL: none was so far.
    rule: Mapped[str | None] = mapped_column(String(100))
    series_id: Mapped[int | None]
    episode: Mapped[int | None]
    kind: Mapped[str | None] = mapped_column(String(16))
    muted: Mapped[str | None]  # why none was sent
    opened_step: Mapped[int]
    resolved_step: Mapped[int | None]
    opened_at: Mapped[float]
    told_at: Mapped[float | None]
    resolved_at: Mapped[float | None]
    acknowledged_at: Mapped[float | None]
    acknowledged_by: Mapped[str | None] = mapped_column(String(100))
    next_at: Mapped[float | None]  # when time alone may change what is sent; NULL: never
    secret: Mapped[str] = mapped_column(String(64))  # signs the links that acknowledge it


class Silence(Base):
    """What shall not be told for a time."""

    __tablename__ = "silences"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    project: Mapped[str | None] = mapped_column(String(200))  # only this project's runs; NULL: all
    matches: Mapped[dict[str, Any]]  # which alerts; see store/matching.py
    reason: Mapped[str]
    made_by: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[float]
    ends_at: Mapped[float] = mapped_column(index=True)  # taking it back moves this to that moment


class RuleChange(Base):
    """One change of a rule that people made on the page, and the whole rule as it is since. The latest of a rule is in force."""

    __tablename__ = "rule_changes"
    __table_args__ = (UniqueConstraint("rule", "version"),)

    # counts the changes of all rules, without gaps: workers compare the highest with that of the rules they hold
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rule: Mapped[str] = mapped_column(String(100))
    version: Mapped[int]  # of this rule, from 1
    kind: Mapped[str] = mapped_column(String(16))  # created | changed | deleted | restored
    project: Mapped[str | None] = mapped_column(String(200))  # only this project's runs; NULL: all
    pack: Mapped[str] = mapped_column(String(100))
    replaces: Mapped[str | None] = mapped_column(String(100))  # the rule that it stands in for, in its runs
    text: Mapped[str]  # YAML of the rule
    tests: Mapped[str]  # YAML of its drawn tests; empty: none
    note: Mapped[str]  # why
    made_by: Mapped[str] = mapped_column(String(100))
    made_at: Mapped[float]


class Channel(Base):
    """Where alerts go: a Slack hook, a webhook."""

    __tablename__ = "channels"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    kind: Mapped[str] = mapped_column(String(32))
    config: Mapped[dict[str, Any]]  # url, secret, …; never returned unmasked
    project: Mapped[str | None] = mapped_column(String(200))  # only this project's runs; NULL: all
    matches: Mapped[dict[str, Any] | None] = mapped_column(
        JSON(none_as_null=True)
    )  # only these alerts; see store/matching.py; NULL: all
    after_seconds: Mapped[float | None]  # only what nobody acknowledged for so long; NULL: at once
    repeat_seconds: Mapped[float | None]  # says so again this often; NULL: never
    digest_seconds: Mapped[float | None]  # collects for so long and sends one message; NULL: each by itself
    enabled: Mapped[bool]
    origin: Mapped[str] = mapped_column(String(16))  # settings | api
    created_at: Mapped[float]


class Delivery(Base):
    """One message to one channel: the outbox. `id` is derived from the transition and the channel, and travels as the message id."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_state_next_at", "state", "next_at"),
        Index("ix_deliveries_run_id", "run_id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    run_id: Mapped[str] = mapped_column(String(64))
    rule: Mapped[str] = mapped_column(String(100))
    series_id: Mapped[int]
    episode: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))  # fired | escalated | repeated | resolved | digest
    about: Mapped[str | None] = mapped_column(String(16))  # the kind of the transition, where that is another
    incident: Mapped[int | None]  # of the run
    digest: Mapped[str | None] = mapped_column(String(40))  # the delivery that this one went with
    channel_id: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(16))  # waiting | delivered | failed | collected
    tries: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[float]
    leased_until: Mapped[float] = mapped_column(default=0.0)
    created_at: Mapped[float]
    delivered_at: Mapped[float | None]
    error: Mapped[str | None]
    retried_at: Mapped[float | None]  # when somebody let it wait anew
    log: Mapped[list[Any] | None] = mapped_column(
        JSON(none_as_null=True)
    )  # the last tries: {try, at, seconds, status, said, error}
    receipt: Mapped[str | None] = mapped_column(
        String(200)
    )  # what the receiver calls it, if it can be answered there


class Breaker(Base):
    """How the sends to a channel go; no row: none ever failed. See store/breakers.py."""

    __tablename__ = "breakers"

    channel_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    failures: Mapped[int]  # in a row
    failing_since: Mapped[float | None]  # the first of these
    quiet_until: Mapped[float]  # nothing is sent before
    error: Mapped[str | None]  # of the last
