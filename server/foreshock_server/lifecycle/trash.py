"""Runs that have lain in the trash for long enough -> deleted for good."""

from __future__ import annotations

import logging

from sqlalchemy import select

from foreshock_server.db import Database
from foreshock_server.errors import UnknownRun
from foreshock_server.models import Run
from foreshock_server.store.runs import delete_run, lock_run
from foreshock_server.store.shelf import TRASH_SECONDS

log = logging.getLogger(__name__)

AT_ONCE = 100  # runs


def empty_trash(database: Database, now: float) -> list[str]:
    """The runs that are deleted now; at most AT_ONCE, so call it again."""
    with database.reading() as session:
        query = (
            select(Run.id)
            .where(Run.deleted_at.is_(None), Run.trashed_at < now - TRASH_SECONDS)
            .order_by(Run.trashed_at)
            .limit(AT_ONCE)
        )
        old = list(session.scalars(query))
    gone = []
    for run_id in old:
        try:
            with database.writing() as session:
                lain = lock_run(session, run_id).trashed_at
                due = lain is not None and lain < now - TRASH_SECONDS  # it may have been taken out just now
                if due:
                    delete_run(session, run_id, now)
        except UnknownRun:
            continue  # somebody was faster
        if due:
            gone.append(run_id)
            log.info("run %s is deleted: it lay in the trash for %g days", run_id, TRASH_SECONDS / 86400)
    return gone
