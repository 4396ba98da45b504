"""What people say about runs: owner, tags, a note, archived, in the trash. Nothing of it changes what was recorded, or when it last was.

A run in the trash is as it was, and may come back: lists leave it out, what it records is stored, its rules go on, and nobody is
told of them. After TRASH_SECONDS it is deleted for good (lifecycle/trash.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from foreshock_server.models import Run, Tag
from foreshock_server.store.once import insert_once

TRASH_SECONDS = 7 * 86400.0
MOST_TAGS = 50  # of one run
LONGEST_NOTE = 20_000  # characters


@dataclass(frozen=True)
class Change:
    """What shall be so from now on; None leaves a thing as it is, and an empty owner is nobody."""

    archived: bool | None = None
    trashed: bool | None = None
    owner: str | None = None
    note: str | None = None  # empty: none
    by: str = ""  # whose change it is
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()


def apply(
    session: Session, run_ids: Sequence[str], change: Change, now: float, project: str | None = None
) -> tuple[list[str], list[str]]:
    """The runs that this changed, and those that are not there (or not of this project). Doing it again changes nothing."""
    known = _locked(session, run_ids, project)
    told = tags_of(session, list(known))
    changed = []
    for run_id in dict.fromkeys(run_ids):
        run = known.get(run_id)
        if run is not None and _change(session, run, change, set(told.get(run_id, ())), now):
            changed.append(run_id)
    session.flush()
    if changed:
        session.execute(
            update(Run).where(Run.id.in_(changed)).values(revision=Run.revision + 1, noted_at=now)
            .execution_options(synchronize_session=False)
        )  # fmt: skip
    return changed, [run_id for run_id in dict.fromkeys(run_ids) if run_id not in known]


def tags_of(session: Session, run_ids: Collection[str]) -> dict[str, list[str]]:
    """The tags of these runs, by name; a run without one is missing."""
    found: dict[str, list[str]] = {}
    query = select(Tag.run_id, Tag.tag).where(Tag.run_id.in_(run_ids)).order_by(Tag.run_id, Tag.tag)
    for run_id, tag in session.execute(query):
        found.setdefault(run_id, []).append(tag)
    return found


def words(session: Session, project: str | None = None) -> Mapping[str, Any]:
    """What a list can be narrowed to: every tag and owner of the runs that are not deleted, with the number of those."""
    tags = select(Tag.tag, func.count()).join(Run, Run.id == Tag.run_id).group_by(Tag.tag).order_by(Tag.tag)
    owners = select(Run.owner, func.count()).where(Run.owner.is_not(None)).group_by(Run.owner)
    owners = owners.order_by(Run.owner)
    found = {}
    for name, query in (("tags", tags), ("owners", owners)):
        query = query.where(Run.deleted_at.is_(None), Run.trashed_at.is_(None))
        if project is not None:
            query = query.where(Run.project == project)
        found[name] = [{"name": word, "runs": number} for word, number in session.execute(query)]
    return found


def _locked(session: Session, run_ids: Sequence[str], project: str | None) -> dict[str, Run]:
    query = select(Run).where(Run.id.in_(list(run_ids)), Run.deleted_at.is_(None))
    if project is not None:
        query = query.where(Run.project == project)
    # In one order, so that two who change the same runs cannot wait for each other.
    query = query.order_by(Run.id).with_for_update().execution_options(populate_existing=True)
    return {run.id: run for run in session.scalars(query)}


def _change(session: Session, run: Run, change: Change, tags: set[str], now: float) -> bool:
    changed = False
    for name, wanted in (("archived_at", change.archived), ("trashed_at", change.trashed)):
        if wanted is not None and wanted != (getattr(run, name) is not None):
            setattr(run, name, now if wanted else None)
            changed = True
    if change.owner is not None and (change.owner or None) != run.owner:
        run.owner, changed = change.owner or None, True
    if change.note is not None and change.note.strip() != (run.note or ""):
        run.note, run.note_by, run.note_at = change.note.strip() or None, change.by or None, now
        changed = True
    gone = tags & set(change.remove_tags)
    if gone:
        mine = (Tag.run_id == run.id) & Tag.tag.in_(gone)
        session.execute(delete(Tag).where(mine), execution_options={"synchronize_session": False})
    new = [tag for tag in dict.fromkeys(change.add_tags) if tag not in tags]
    new = new[: max(0, MOST_TAGS - len(tags - gone))]
    for tag in new:
        insert_once(session, Tag, {"run_id": run.id, "tag": tag})
    return changed or bool(gone) or bool(new)
