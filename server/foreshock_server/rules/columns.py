"""A frame of a writer -> its columns that some rule watches. Neither ever changes, so what was found is kept, within bounds."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from sqlalchemy.orm import Session

from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.pack import Rule
from foreshock_server.rules.watch import Subject
from foreshock_server.store.series import frames, list_series

COLUMNS_KEPT = 200_000  # of the frames seen last: some hundred bytes each

FrameKey = tuple[str, int, str, int]  # run, attempt, writer, frame


class Column(NamedTuple):
    """A column of a frame, and the rules that watch it."""

    position: int
    series: Subject
    rules: tuple[Rule, ...]


class WatchedColumns:
    """The columns that these rules watch."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self._frames: OrderedDict[FrameKey, tuple[Column, ...]] = OrderedDict()
        self._kept = 0

    def of(self, session: Session, run_id: str, attempt: int, writer: str, frame: int) -> tuple[Column, ...]:
        """Those of one frame, by position."""
        key = (run_id, attempt, writer, frame)
        if key not in self._frames:
            self._load(session, run_id, attempt, writer)
        self._frames.move_to_end(key)
        while self._kept > COLUMNS_KEPT and len(self._frames) > 1:
            _, gone = self._frames.popitem(last=False)
            self._kept -= len(gone)
        return self._frames[key]

    def _load(self, session: Session, run_id: str, attempt: int, writer: str) -> None:
        """All frames of the writer: its blocks will need them."""
        subjects = [Subject.of(row) for row in list_series(session, run_id)]
        watched = {one.series_id: (one, tuple(self.rules.matching(one))) for one in subjects}
        for number, row in frames(session, run_id, attempt, writer).items():
            key = (run_id, attempt, writer, number)
            if key in self._frames:
                continue
            found = (Column(position, *watched[one]) for position, one in enumerate(row.series_ids))
            self._frames[key] = tuple(one for one in found if one.rules)
            self._kept += len(self._frames[key])
