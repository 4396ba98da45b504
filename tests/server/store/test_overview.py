"""A long range as it is drawn: its extremes, counts and means are those of all its readings, sealed or not, superseded or not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, select

from foreshock_server.models import Series, Writer
from foreshock_server.sealing.ready import ready
from foreshock_server.sealing.sealer import Sealer
from foreshock_server.sealing.tallier import Tallier
from foreshock_server.store import blocks
from foreshock_server.store.heatmap import Heatmap, heatmap
from foreshock_server.store.overview import FEW, overview, shown


def seal(recorded) -> None:
    while Tallier(recorded.database).tally(recorded.run):
        pass
    with recorded.database.writing() as session:
        for row in session.scalars(select(Writer)):
            row.evaluated_seq = row.acked_seq
    with recorded.database.reading() as session:
        rows = ready(session, now=1e12)
    while any(Sealer(recorded.database).seal(one) for one in rows):
        with recorded.database.reading() as session:
            rows = ready(session, now=1e12)


def noise(steps: int, series: int = 2, seed: int = 0) -> np.ndarray:
    g = np.random.default_rng(seed)
    return (g.standard_normal((steps, series)) + 5 * np.sin(np.arange(steps) / 3000)[:, None]).astype(
        np.float32
    )


@pytest.fixture
def long(recorded):
    """Two series of 20,000 steps with NaNs, resumed at step 14,321; the last 1,000 steps of either attempt are not sealed."""
    for attempt, first, last in ((1, 0, 16_000), (2, 14_321, 20_000)):
        table = noise(last - first, seed=attempt)
        table[500, 0], table[3000:3003, 1] = math.nan, math.inf
        place = {"attempt": attempt}
        for seq, at in enumerate(range(0, len(table), 500), 1):
            part = table[at : at + 500]
            recorded.store(
                seq,
                recorded.rows(["a", "b"], range(first + at, first + at + len(part)), part, **place),
                **place,
            )
            if at + 1500 == (len(table) // 500) * 500:
                seal(recorded)
    return recorded


def numbers(recorded, superseded: bool, key: str = "a", first=None, last=None) -> list[Any]:
    """What is asked for, one by one."""
    found = [one for one in recorded.of(key) if superseded or one.attempt == 2 or one.step < 14_321]
    return [
        one for one in found if (first is None or one.step >= first) and (last is None or one.step <= last)
    ]


@pytest.mark.parametrize("superseded", [False, True])
@pytest.mark.parametrize(("first", "last"), [(None, None), (1000, 19_000), (77, 15_001), (14_000, None)])
def test_an_overview_holds_the_extremes_and_counts_of_all_readings(long, superseded, first, last):
    with long.database.reading() as session:
        ids = {row.key: row.series_id for row in session.scalars(select(Series))}
        found = overview(session, long.run, ids.values(), 50, first=first, last=last, superseded=superseded)
    for key, number in ids.items():
        one, want = found[number], numbers(long, superseded, key, first, last)
        assert one.points == len(want)
        odd = [(r.attempt, r.step) for r in want if not math.isfinite(r.value)]
        assert one.nonfinite == len(odd)
        shown_ = list(
            zip(
                one.columns.attempts.tolist(),
                one.columns.steps.tolist(),
                one.columns.values.tolist(),
                strict=True,
            )
        )
        assert [(a, s) for a, s, v in shown_ if not math.isfinite(v)] == odd
        readings = {(r.attempt, r.step, float(r.value)) for r in want if math.isfinite(r.value)}
        assert {one for one in shown_ if math.isfinite(one[2])} <= readings  # nothing is made up
        values = [value for *_, value in readings]
        finite = one.columns.values[np.isfinite(one.columns.values)]
        assert (finite.min(), finite.max()) == (min(values), max(values))
        assert len(one.columns) < len(want) / 2
        order = list(zip(one.columns.attempts.tolist(), one.columns.steps.tolist(), strict=True))
        assert order == sorted(order)


def test_times_are_estimated_closely_and_means_follow_the_course(long):
    with long.database.reading() as session:
        found = overview(session, long.run, [1], 50, superseded=True)[1]
    exact = {(one.attempt, one.step): one.time for one in long.of("a")}
    columns = found.columns
    for attempt, step, time in zip(
        columns.attempts.tolist(), columns.steps.tolist(), columns.times.tolist(), strict=True
    ):
        assert time == pytest.approx(exact[attempt, step], abs=1.0)  # half a second a step
    assert found.means is not None
    first = found.means.attempts == 1
    np.testing.assert_allclose(
        found.means.values[first][:150], 5 * np.sin(found.means.steps[first][:150] / 3000), atol=0.8
    )


def test_a_short_series_a_short_range_and_all_points_are_exact(long, monkeypatch):
    def asked(points: int, **more: Any):
        with long.database.reading() as session:
            rows = list(session.scalars(select(Series).order_by(Series.series_id)))
            return shown(session, long.run, rows, points, **more)[1]

    assert asked(50).exact  # few readings
    monkeypatch.setattr("foreshock_server.store.overview.FEW", 100)
    assert not asked(50).exact
    assert asked(0).exact
    assert asked(50, first=100, last=1000).exact
    with long.database.reading() as session:
        data = blocks.read(session, long.run, [1], superseded=False)[1]
    whole = asked(0)
    assert whole.columns.values.tobytes() == data.values.tobytes()
    assert (whole.points, whole.nonfinite) == (len(data), int((~np.isfinite(data.values)).sum()))
    assert FEW == 100_000


def test_an_overview_reads_what_is_shown_and_not_what_is_stored(recorded):
    """Twice the steps: as many rows."""
    read = []

    def count(rows: int) -> int:
        seen: list[str] = []

        def note(_connection, _cursor, statement, *_rest):
            seen.append(statement)

        engine = recorded.database.engine
        event.listen(engine, "before_cursor_execute", note)
        with recorded.database.reading() as session:
            found = overview(session, recorded.run, [1], 100)[1]
        event.remove(engine, "before_cursor_execute", note)
        assert found.points == rows
        assert not any("blocks.rows" in one and "segments" in one for one in seen)
        return len(found.columns)

    seq = 0
    for total in (65_536, 131_072, 262_144):
        while seq * 32_768 < total:
            steps = range(seq * 32_768, (seq + 1) * 32_768)
            seq += 1
            recorded.store(seq, recorded.rows(["a"], steps, noise(32_768, 1, seq)))
        seal(recorded)
        read.append(count(total))
    assert max(read) < 8 * 2 * 100 + 2 * 64
    assert all(len_ >= 100 for len_ in read)


def expected_heat(recorded, found: Heatmap, key: str, superseded: bool) -> list[float]:
    cells: list[list[float]] = [[] for _ in range(len(found.edges) - 1)]
    for one in numbers(recorded, superseded, key):
        cell = int(np.searchsorted(found.edges, one.step, side="right")) - 1
        if 0 <= cell < len(cells) and math.isfinite(one.value):
            cells[cell].append(float(one.value))
    return [math.fsum(cell) / len(cell) if cell else math.nan for cell in cells]


@pytest.mark.parametrize("superseded", [False, True])
@pytest.mark.parametrize(
    ("columns", "first", "last"),
    [(20, None, None), (100, None, None), (7, 300, 18_000), (400, 15_000, 15_300), (1, None, None)],
)
def test_a_heatmap_holds_the_mean_of_the_readings_of_each_cell(long, superseded, columns, first, last):
    with long.database.reading() as session:
        found = heatmap(session, long.run, [2, 1], columns, first, last, superseded=superseded)
    assert found is not None
    assert found.means.shape == (2, len(found.edges) - 1)
    assert columns / 2.2 <= found.means.shape[1] <= columns
    for i, key in enumerate(("b", "a")):
        np.testing.assert_allclose(
            found.means[i], expected_heat(long, found, key, superseded), rtol=1e-6, atol=1e-6
        )


def test_a_heatmap_of_nothing_is_none_and_of_single_steps_exact(recorded):
    with recorded.database.reading() as session:
        assert heatmap(session, recorded.run, [1], 10) is None
    recorded.store(1, recorded.rows(["a", "b"], [-5, 0, 3], [[1.0, 2.0], [3.0, 4.0], [5.0, math.nan]]))
    for _ in range(2):
        with recorded.database.reading() as session:
            found = heatmap(session, recorded.run, [1, 2], 100)
        assert found is not None
        assert found.edges.tolist() == list(range(-5, 5))
        assert found.means[:, [0, 5, 8]].tolist()[0] == [1.0, 3.0, 5.0]
        assert found.counts.sum(1).tolist() == [3, 2]
        seal(recorded)


def test_steps_at_both_ends_of_int64_are_read_and_drawn(recorded):
    ends = [-(2**63), -1, 2**63 - 1]
    recorded.store(1, recorded.rows(["a"], ends, [[1.0], [2.0], [3.0]]))
    for _ in range(2):
        with recorded.database.reading() as session:
            assert blocks.read(session, recorded.run, [1])[1].steps.tolist() == ends
            assert overview(session, recorded.run, [1], 10)[1].points == 3
            found = heatmap(session, recorded.run, [1], 10)
        assert found is not None
        assert found.counts.sum() == 3
        seal(recorded)
