"""A run whose blocks are stored without HTTP, and an evaluator over it with rules of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from foreshock.measure.statistics import STATISTICS
from foreshock_server.bus import LocalBus
from foreshock_server.db import Database
from foreshock_server.models import Alert, Delivery, Run, Transition, Writer
from foreshock_server.rules.evaluator import Evaluator
from foreshock_server.rules.load import RuleSet, parse_pack
from foreshock_server.settings import Settings
from foreshock_server.store.blocks import append
from foreshock_server.store.channels import create_channel
from foreshock_server.store.rows import RowGroup
from foreshock_server.store.runs import ensure_writer, lock_run, open_run
from foreshock_server.store.series import NewFrame, NewSeries, register_frames

TAIL = """
    runbook:
      meaning: It means something.
      check: [this]
      try:
        - {text: that, basis: inference, source: experience}
    source: experience
"""


def pack_of(*rules: str) -> str:
    """A pack from the lines that matter: `id: …`, `matches: …`, `detector: …` and what else differs from the rest."""
    text = "pack: test\nrules:\n"
    for rule in rules:
        fields = dict(line.strip().split(":", 1) for line in rule.strip().splitlines())
        given = {"title": " A title", "family": " training", "severity": " warning", **fields}
        text += f"  - id:{given.pop('id')}\n"
        text += "".join(f"    {name}:{value}\n" for name, value in given.items()) + TAIL
    return text


def rule_set(*rules: str) -> RuleSet:
    """Those rules and no other."""
    pack = parse_pack(pack_of(*rules), "test.yaml")
    return RuleSet(tuple(pack.rules), {rule.id: "test.yaml" for rule in pack.rules})


class Stored:
    """One run in a database, filled block by block."""

    def __init__(
        self,
        database: Database,
        run: str = "run-1",
        *,
        project: str = "p",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.database = database
        self.run = run
        self._seq: dict[tuple[int, str], int] = {}
        self._frames: dict[tuple[int, str, tuple[str, ...]], int] = {}
        with database.writing() as session:
            open_run(
                session,
                run,
                project=project,
                name="brisk-otter",
                config=config or {},
                attempt=1,
                writer="w",
                info={},
                started_at=0.0,
                now=0.0,
            )

    def block(
        self,
        columns: Mapping[str, Sequence[float | None]],
        first: int = 0,
        *,
        steps: Sequence[int] | None = None,
        attempt: int = 1,
        writer: str = "w",
        skip: int = 0,
        every: int = 1,
        at: float = 0.0,
    ) -> None:
        """Store the next block of a writer: one reading per step and series; None for none. `skip` loses blocks before it; `at`: when it
        arrives."""
        keys = tuple(columns)
        length = len(next(iter(columns.values())))
        table = np.array([[np.nan if v is None else v for v in columns[key]] for key in keys], np.float64).T
        absent = np.array([[v is None for v in columns[key]] for key in keys]).T
        numbers = np.array(
            steps if steps is not None else range(first, first + every * length, every), np.int64
        )
        with self.database.writing() as session:
            lock_run(session, self.run)
            row = ensure_writer(session, self.run, attempt, writer, now=0.0)
            number = self._frames.setdefault((attempt, writer, keys), len(self._frames) + 1)
            frame = NewFrame(number, "f64", [named(key) for key in keys])
            register_frames(session, self.run, attempt, writer, [frame])
            seq = self._seq.get((attempt, writer), 0) + 1 + skip
            self._seq[attempt, writer] = seq
            if skip:
                row.floor, row.acked_seq = seq, seq - 1
                session.flush()
            group = RowGroup(
                number,
                numbers,
                1e9 * attempt + numbers.astype(float),
                table,
                absent if absent.any() else None,
            )
            assert append(session, row, seq, [group], at)

    def alert(self, rule: str, series: int = 1) -> Alert:
        with self.database.reading() as session:
            return session.get_one(Alert, (self.run, rule, series))

    def transitions(self) -> list[Transition]:
        query = select(Transition).where(Transition.run_id == self.run)
        with self.database.reading() as session:
            return list(session.scalars(query.order_by(Transition.at, Transition.rule, Transition.series_id)))

    def drawn(self) -> list[tuple[Any, ...]]:
        """Each transition as (rule, series, episode, kind, step)."""
        return [(one.rule, one.series_id, one.episode, one.kind, one.step) for one in self.transitions()]

    def deliveries(self) -> list[tuple[Any, ...]]:
        """Each message in the outbox as (rule, series, episode, kind)."""
        query = select(Delivery).where(Delivery.run_id == self.run)
        with self.database.reading() as session:
            return sorted((one.rule, one.series_id, one.episode, one.kind) for one in session.scalars(query))

    def evaluated(self) -> dict[tuple[int, str], int]:
        query = select(Writer).where(Writer.run_id == self.run)
        with self.database.reading() as session:
            return {(one.attempt, one.writer): one.evaluated_seq for one in session.scalars(query)}

    @property
    def revision(self) -> int:
        with self.database.reading() as session:
            return session.get_one(Run, self.run).revision


def named(key: str) -> NewSeries:
    """`statistic@place` as a series, or `statistic{label=value,…}` in the family that the catalogue says."""
    if "{" in key:
        statistic, _, rest = key.removesuffix("}").partition("{")
        labels = dict(pair.split("=", 1) for pair in rest.split(",") if pair)
        family = STATISTICS[statistic].family
        return NewSeries(key, statistic, family, labels.get("place", ""), labels, "", "f64")
    statistic, _, place = key.partition("@")
    labels = {"place": place} if place else {}
    return NewSeries(key, statistic, "training", place, labels, "nat", "f64")


@pytest.fixture
def new_run(database: Database) -> Callable[..., Stored]:
    return lambda name, **more: Stored(database, name, **more)


@pytest.fixture
def stored(new_run: Callable[..., Stored]) -> Stored:
    return new_run("run-1")


@pytest.fixture
def channel(database: Database) -> None:
    """Somewhere to send to, so that messages leave rows in the outbox."""
    with database.writing() as session:
        config = {"url": "http://127.0.0.1:9/"}
        create_channel(
            session, name="hook", kind="webhook", config=config, project=None, enabled=True, now=0.0
        )


@pytest.fixture
def bus() -> LocalBus:
    return LocalBus()


@pytest.fixture
def evaluator(database: Database, bus: LocalBus, settings: Settings) -> Callable[..., Evaluator]:
    """rules -> an Evaluator whose clock stands at 500 until told otherwise."""

    def make(*rules: str, clock: Callable[[], float] = lambda: 500.0, **more: Any) -> Evaluator:
        return Evaluator(database, rule_set(*rules), bus, settings, clock=clock, **more)

    return make


@pytest.fixture
def pack_text() -> Callable[..., str]:
    return pack_of
