"""Runs and their attempts: opened, found, listed, touched, finished, deleted. Every write to a run locks its row first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.orm import Session

from foreshock_server.errors import RunDeleted, UnknownRun
from foreshock_server.models import Attempt, Delivery, Run, Tag, Writer
from foreshock_server.store import digests
from foreshock_server.store.once import insert_once

LIFE_BITS = 22  # of a revision count changes; those above say in which life of the run
RUNNING, FINISHED, FAILED = "running", "finished", "failed"


def open_run(
    session: Session,
    run_id: str,
    *,
    project: str,
    name: str,
    config: Mapping[str, Any],
    attempt: int,
    writer: str,
    info: Mapping[str, Any],
    started_at: float,
    now: float,
    owner: str | None = None,
    tags: Iterable[str] = (),
    note: str = "",
) -> Run:
    """The run, made if it was unknown; a repeated call adds only what was unknown, a new attempt sets it running.

    `owner`, `tags` and `note` are for a run that is made: afterwards people decide about them.
    """
    born = insert_once(
        session,
        Run,
        {
            "id": run_id,
            "project": project,
            "name": name,
            "config": dict(config),
            "state": RUNNING,
            "created_at": started_at,
            "updated_at": now,
            "revision": 1,
            "points": 0,
            "owner": owner,
            **({"note": note, "note_by": owner, "note_at": started_at} if note else {}),
        },
    )
    run = lock_run(session, run_id)
    changed = False
    if born:
        session.add_all(Tag(run_id=run_id, tag=tag) for tag in dict.fromkeys(tags))
    else:
        # Every process of a run opens it, and may know more or less of it: what is known stays.
        if not run.name and name:
            run.name, changed = name, True
        missing = {key: value for key, value in config.items() if key not in run.config}
        if missing:
            run.config, changed = {**run.config, **missing}, True
    if ensure_attempt(session, run, attempt, now=now, started_at=started_at):
        changed = True
    row = session.get_one(Attempt, (run_id, attempt))
    added = {key: value for key, value in info.items() if key not in row.info}
    if added:
        row.info, changed = {**row.info, **added}, True
    ensure_writer(session, run_id, attempt, writer, now=now)
    session.flush()
    if changed and not born:
        touch(session, run_id, now)
    return run


def ensure_attempt(
    session: Session, run: Run, attempt: int, *, now: float, started_at: float | None = None
) -> bool:
    """True when this attempt is new, which sets the run running again unless a later attempt exists."""
    if session.get(Attempt, (run.id, attempt)) is not None:
        return False
    latest = latest_attempt(session, run.id)
    row = Attempt(
        run_id=run.id,
        attempt=attempt,
        state=RUNNING,
        info={},
        started_at=now if started_at is None else started_at,
        finished_at=None,
    )
    session.add(row)
    if latest is None or attempt > latest.attempt:
        run.state = RUNNING
    session.flush()
    return True


def ensure_writer(session: Session, run_id: str, attempt: int, writer: str, *, now: float) -> Writer:
    """The writer's row, made if it was unknown; call it under `lock_run`."""
    key = (run_id, attempt, writer)
    row = session.get(Writer, key)
    if row is None:
        row = Writer(
            run_id=run_id,
            attempt=attempt,
            writer=writer,
            floor=1,
            acked_seq=0,
            evaluated_seq=0,
            final_seq=None,
            dropped=0,
            lost={},
            cost={},
            seen_at=now,
        )
        session.add(row)
        session.flush()
    return row


def get_run(session: Session, run_id: str) -> Run:
    """The run, or UnknownRun, also for one that was deleted."""
    run = None if "\0" in run_id else session.get(Run, run_id)  # PostgreSQL takes no text with a NUL
    if run is None or run.deleted_at is not None:
        raise UnknownRun
    return run


def life_of(session: Session, run_id: str) -> int:
    """Tells a run from an earlier one of the same id: 0, or the second in which it was imported. Long runs may change it, seldom."""
    return (session.scalar(select(Run.revision).where(Run.id == run_id)) or 0) >> LIFE_BITS


def lock_run(session: Session, run_id: str) -> Run:
    """The run, held until the transaction ends, so that writers of one run queue here and nowhere deadlock.

    Take it before any other row of the run. (SQLite has one writer, so there it is only a read.)
    RunDeleted when it was: then nothing of it may be written any more.
    """
    known = "\0" not in run_id  # PostgreSQL takes no text with one
    run = session.get(Run, run_id, with_for_update=True, populate_existing=True) if known else None
    if run is None:
        raise UnknownRun
    if run.deleted_at is not None:
        raise RunDeleted
    return run


def delete_run(session: Session, run_id: str, now: float) -> None:
    """From here on the run is gone for everybody; lifecycle/cleanup.py takes its rows away. UnknownRun when it is gone already.

    What waits to be sent goes at once (but what digests hold of other runs), and so do the writers: without their cursors no stage finds work in the run.
    """
    try:
        run = lock_run(session, run_id)
    except RunDeleted:
        raise UnknownRun from None
    run.deleted_at = now
    digests.hand_over(session, run_id)
    for model in (Delivery, Writer):
        session.execute(
            delete(model).where(model.run_id == run_id), execution_options={"synchronize_session": False}
        )
    touch(session, run_id, now)  # lists that are open learn of it


def list_runs(
    session: Session,
    project: str | None = None,
    limit: int = 100,
    before: tuple[float, str] | None = None,
) -> list[Run]:
    """Latest first by (updated_at, id), archived ones and the trash too; `before` is that pair of the last one seen.

    For whoever wants all of them; what people look through is store/listing.py.
    """
    query = (
        select(Run)
        .where(Run.deleted_at.is_(None))
        .order_by(Run.updated_at.desc(), Run.id.desc())
        .limit(limit)
    )
    if project is not None:
        query = query.where(Run.project == project)
    if before is not None:
        query = query.where(tuple_(Run.updated_at, Run.id) < before)
    return list(session.scalars(query))


def touch(session: Session, run_id: str, now: float) -> int:
    """Mark a change that a viewer could see; the new revision."""
    session.flush()
    revision = session.scalar(
        update(Run)
        .where(Run.id == run_id)
        .values(revision=Run.revision + 1, updated_at=now)
        .returning(Run.revision)
        .execution_options(synchronize_session="fetch")
    )
    if revision is None:
        raise UnknownRun
    return revision


def finish_attempt(
    session: Session,
    run_id: str,
    attempt: int,
    *,
    state: str,
    at: float,
    last_seq: Mapping[str, int],
    now: float,
) -> Run:
    """The run, with this attempt closed. Saying it twice changes nothing; "failed" of one process outweighs "finished"."""
    run = lock_run(session, run_id)
    changed = ensure_attempt(session, run, attempt, now=now, started_at=at)
    row = session.get_one(Attempt, (run_id, attempt))
    if row.state == RUNNING or (row.state == FINISHED and state == FAILED):
        row.state, row.finished_at, changed = state, at, True
    for name, seq in last_seq.items():
        writer = ensure_writer(session, run_id, attempt, name, now=now)
        writer.final_seq = max(seq, writer.final_seq or 0)
    latest = latest_attempt(session, run_id)
    if latest is not None and run.state != latest.state:
        run.state, changed = latest.state, True
    session.flush()
    if changed:
        touch(session, run_id, now)
    return run


def latest_attempt(session: Session, run_id: str) -> Attempt | None:
    """The attempt with the highest number."""
    return session.scalar(
        select(Attempt).where(Attempt.run_id == run_id).order_by(Attempt.attempt.desc()).limit(1)
    )


def list_attempts(session: Session, run_id: str) -> list[Attempt]:
    """In order."""
    return list(session.scalars(select(Attempt).where(Attempt.run_id == run_id).order_by(Attempt.attempt)))


def list_writers(session: Session, run_id: str) -> list[Writer]:
    """Of all attempts, in order."""
    return list(
        session.scalars(select(Writer).where(Writer.run_id == run_id).order_by(Writer.attempt, Writer.writer))
    )
