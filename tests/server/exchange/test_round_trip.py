"""Export, import, export: the same tables, bit for bit, whatever a run holds; and nobody is paged for what is long over."""

from __future__ import annotations

import numpy as np
import pandas
import polars
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from foreshock_server.bus import LocalBus
from foreshock_server.db import Database
from foreshock_server.errors import Invalid, RunExists, UnknownRun
from foreshock_server.exchange import export, packing, readings, restore
from foreshock_server.exchange.export import export_run
from foreshock_server.exchange.restore import import_run
from foreshock_server.lifecycle.cleanup import ABANDONED_SECONDS, Cleaner
from foreshock_server.models import Alert, Block, Delivery, Incident, Run, Segment, Series, Transition, Writer
from foreshock_server.ranks.merger import Merger
from foreshock_server.rules.evaluator import Evaluator
from foreshock_server.rules.load import RuleSet
from foreshock_server.sealing.sealer import Sealer
from foreshock_server.sealing.tallier import Tallier
from foreshock_server.store import blocks, latest
from foreshock_server.store.runs import delete_run, get_run

NOW = 1.9e9


def test_everything_comes_back_bit_for_bit(make, table, tmp_path, other):
    make.rich()
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    done = export_run(make.database, "run-1", first)
    assert done.rows == 3 * 2 + 4 - 1 + 4 + 3 + 5 + 2 * 3 + 4
    imported = import_run(other, first, NOW)
    assert (imported.run, imported.series, imported.known) == ("run-1", 5, False)
    export_run(other, "run-1", second)
    assert table(second).content() == table(first).content()
    assert table(second).told() == table(first).told()


def test_what_people_see_is_the_same(make, tmp_path, other):
    make.rich()
    path = tmp_path / "a.parquet"
    export_run(make.database, "run-1", path)
    import_run(other, path, NOW)

    def seen(database):
        with database.reading() as session:
            run = get_run(session, "run-1")
            series = latest.list_series(session, "run-1")
            columns = blocks.read(session, "run-1", [one.series_id for one in series])
            return (
                [run.project, run.name, run.config, run.state, run.points, run.last_step, run.last_attempt],
                [
                    [
                        one.key,
                        one.points,
                        one.nonfinite,
                        one.first_step,
                        one.last_step,
                        one.last_value,
                        one.last_text,
                    ]
                    for one in series
                ],
                [
                    [columns[i].steps.tolist(), columns[i].values.tobytes(), columns[i].attempts.tolist()]
                    for i in sorted(columns)
                ],
            )

    assert seen(other) == seen(make.database)


def test_pandas_and_polars_read_it_as_it_is(make, tmp_path):
    make.rich()
    path = tmp_path / "run.parquet"
    rows = export_run(make.database, "run-1", path).rows
    frame = pandas.read_parquet(path)
    assert len(frame) == rows
    loss = frame[(frame.key == "loss") & (frame.attempt == 1)]
    assert loss.step.tolist() == [0, 1, 2, 4, 2, 3]
    assert np.isnan(loss.value.iloc[0])
    assert loss.value.tolist()[1:] == [np.inf, -np.inf, 3, 7, 9]
    assert set(frame.dtype.dropna()) == {"f32", "f64"} if "dtype" in frame else False
    drawn = polars.read_parquet(path).filter(polars.col("key").cast(polars.String) == "reward")
    assert drawn["step"].to_list() == [0, 2**53, 2**62]
    assert drawn["value"].to_list()[1] == np.pi
    assert drawn["entry"].null_count() == 3
    spectrum = polars.read_parquet(path).filter(polars.col("statistic").cast(polars.String) == "spectrum")
    assert spectrum["entry"].to_list() == [0, 1, 2, 0, 1, 2]
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_nobody_is_paged_and_nothing_is_judged_again(make, tmp_path, other, client):
    make.rich()
    path = tmp_path / "a.parquet"
    export_run(make.database, "run-1", path)
    import_run(other, path, NOW)
    settings_of = client.app.state.settings
    evaluator = Evaluator(other, RuleSet.load(settings_of), LocalBus(), settings_of)
    assert evaluator.run_once() == 0
    with other.reading() as session:
        assert session.scalar(select(func.count()).select_from(Delivery)) == 0
        (alert,) = session.scalars(select(Alert))
        assert (alert.state, alert.memory, alert.episode) == (
            "firing",
            {"window": [1.5, 2.5], "low": "NaN"},
            1,
        )
        (change,) = session.scalars(select(Transition))
        assert (change.at, change.created_at) == (1.5e9 + 0.1, 1.6e9)
        (incident,) = session.scalars(select(Incident))
        assert (incident.state, incident.told_at, incident.firing) == (
            "open",
            1.6e9 + 0.1,
            [["rank-collapse", 1, 1, False]],
        )
        assert incident.next_at is None
        assert incident.secret == "", "no link holds here, and a file holds no secret"


def test_stages_go_on_with_an_imported_run(make, table, tmp_path, other):
    make.rich()
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    export_run(make.database, "run-1", first)
    import_run(other, first, NOW)
    while Tallier(other).run_once() > 0:
        pass
    with other.reading() as session:
        stored = session.scalars(select(Series).order_by(Series.series_id)).all()
        assert sum(one.points for one in stored) == get_run(session, "run-1").points
        assert all(one.tallied_seq == one.acked_seq for one in session.scalars(select(Writer)))
    export_run(other, "run-1", second)
    assert table(second).content() == table(first).content()
    assert Merger(other, LocalBus()).run_once() >= 0


def test_a_sealed_run_gives_the_same_file_as_a_fresh_one(make, table, tmp_path, other):
    make.rich()
    make.block("run-1", 6, 1, ["loss", "grad"], range(10, 2010), np.arange(4000) / 7)
    fresh, sealed, again = (tmp_path / f"{name}.parquet" for name in "abc")
    export_run(make.database, "run-1", fresh)
    with make.database.writing() as session:
        for writer in session.scalars(select(Writer)):
            writer.evaluated_seq = writer.acked_seq

    def seal(database):
        while Tallier(database).run_once() + Sealer(database, clock=lambda: NOW * 2).run_once() > 0:
            pass
        with database.reading() as session:
            return session.scalar(select(func.count()).select_from(Segment))

    assert seal(make.database) > 0
    export_run(make.database, "run-1", sealed)
    assert table(sealed).content() == table(fresh).content()
    import_run(other, sealed, NOW)
    assert seal(other) > 0
    export_run(other, "run-1", again)
    assert table(again).content() == table(fresh).content()


def test_a_run_that_is_here_is_refused_unless_it_is_the_same(make, maker, tmp_path, other, table):
    make.rich()
    path = tmp_path / "a.parquet"
    export_run(make.database, "run-1", path)
    assert import_run(make.database, path, NOW).known
    assert not import_run(other, path, NOW).known
    assert import_run(other, path, NOW).known
    maker(other).block("run-1", 99, 9, ["loss"], [100], [[1.0]])
    with pytest.raises(RunExists, match="--as NEWNAME"):
        import_run(other, path, NOW)
    again = import_run(other, path, NOW, name="run-2")
    assert (again.run, again.known) == ("run-2", False)
    export_run(other, "run-2", tmp_path / "b.parquet")
    assert table(tmp_path / "b.parquet").content(but_run=True) == table(path).content(but_run=True)
    assert import_run(other, path, NOW, name="run-2").known
    with pytest.raises(Invalid, match="cannot be the id of a run"):
        import_run(other, path, NOW, name="../etc")


def test_a_changed_bit_is_another_run(make, tmp_path, other, maker):
    make.block("run-1", 1, 1, ["x"], [1, 2], [[1.0], [np.nan]])
    path = tmp_path / "a.parquet"
    export_run(make.database, "run-1", path)
    maker(other).block("run-1", 1, 1, ["x"], [1, 2], [[np.nextafter(np.float32(1), np.float32(2))], [np.nan]])
    with pytest.raises(RunExists):
        import_run(other, path, NOW)


def test_a_deleted_run_can_be_brought_back(make, tmp_path, table):
    make.rich()
    path = tmp_path / "a.parquet"
    export_run(make.database, "run-1", path)
    with make.database.writing() as session:
        delete_run(session, "run-1", NOW)
    with pytest.raises(UnknownRun):
        export_run(make.database, "run-1", tmp_path / "b.parquet")
    import_run(make.database, path, NOW)
    export_run(make.database, "run-1", tmp_path / "b.parquet")
    assert table(tmp_path / "b.parquet").content() == table(path).content()


def test_what_was_remembered_of_a_deleted_run_is_not_taken_for_the_imported_one(make, maker, tmp_path, other):
    path = tmp_path / "a.parquet"
    for database, value in ((other, 1.0), (make.database, 2.0)):
        maker(database).block("run-1", 1, 1, ["x"], [1, 2], [[value], [value]])
        maker(database).block("run-1", 2, 2, ["y"] if value == 1.0 else ["z"], [1], [[value]])
    export_run(other, "run-1", path)

    def values():
        with make.database.reading() as session:
            return {i: one.values.tolist() for i, one in blocks.read(session, "run-1", [1, 2]).items()}

    assert values() == {1: [2.0, 2.0], 2: [2.0]}
    with make.database.writing() as session:
        delete_run(session, "run-1", NOW)
    import_run(make.database, path, NOW)
    assert values() == {1: [1.0, 1.0], 2: [1.0]}


def test_portions_of_any_size_give_the_same_file(make, table, tmp_path, monkeypatch, other):
    make.rich()
    make.block("run-1", 7, 7, ["long"], range(5000), np.arange(5000), dtype="f64")
    make.block("run-1", 8, 7, ["long"], range(3000, 6000), np.arange(3000), dtype="f64")
    whole, small = tmp_path / "whole.parquet", tmp_path / "small.parquet"
    export_run(make.database, "run-1", whole)
    monkeypatch.setattr(readings, "AT_ONCE", 1500)
    monkeypatch.setattr(export, "GROUP_ROWS", 700)
    monkeypatch.setattr(restore, "AT_ONCE", 400)
    monkeypatch.setattr(packing, "MOST_STEPS", 64)
    export_run(make.database, "run-1", small)
    assert pq.ParquetFile(small).metadata.num_row_groups > 3
    order = ["key", "attempt", "writer", "step", "value"]
    frames = [pandas.read_parquet(path)[order] for path in (whole, small)]
    for frame in frames:
        frame[["key", "writer"]] = frame[["key", "writer"]].astype(str)
    one, two = (frame.sort_values(order).reset_index(drop=True) for frame in frames)
    pandas.testing.assert_frame_equal(one, two, check_exact=True)
    import_run(other, small, NOW)
    export_run(other, "run-1", tmp_path / "again.parquet")
    assert table(tmp_path / "again.parquet").content() == table(small).content()
    with other.reading() as session:
        assert session.scalar(select(func.count()).select_from(Block)) > 5


def test_an_export_that_fails_leaves_no_file(make, tmp_path, monkeypatch):
    make.rich()
    path = tmp_path / "out" / "a.parquet"
    path.parent.mkdir()
    path.write_text("what was there")
    monkeypatch.setattr(export, "as_batch", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_run(make.database, "run-1", path)
    assert [one.name for one in path.parent.iterdir()] == ["a.parquet"]
    assert path.read_text() == "what was there"


def test_an_import_that_is_cut_off_shows_nothing_and_the_next_begins_anew(
    make, table, tmp_path, monkeypatch, other
):
    make.rich()
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    export_run(make.database, "run-1", first)
    monkeypatch.setattr(restore, "AT_ONCE", 5)

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(restore, "_finish", kill)
        patched.setattr(restore, "_abandon", lambda *_: None)  # a killed process cannot tidy up
        with pytest.raises(Killed):
            import_run(other, first, NOW)
    with other.reading() as session, pytest.raises(UnknownRun):
        get_run(session, "run-1")
    cleaner = Cleaner(other, LocalBus(), clock=lambda: NOW + 1)
    assert cleaner.run_once() == 0, "it may still be at work"
    import_run(other, first, NOW + 2)
    export_run(other, "run-1", second)
    assert table(second).content() == table(first).content()


def test_what_a_killed_import_left_is_cleaned_up(make, tmp_path, monkeypatch, other):
    make.rich()
    path = tmp_path / "a.parquet"
    export_run(make.database, "run-1", path)
    with monkeypatch.context() as patched:
        patched.setattr(restore, "_finish", lambda *_: 1 / 0)
        patched.setattr(restore, "_abandon", lambda *_: None)
        with pytest.raises(ZeroDivisionError):
            import_run(other, path, NOW)
    cleaner = Cleaner(other, LocalBus(), clock=lambda: NOW + ABANDONED_SECONDS + 1)
    while cleaner.run_once() > 0:
        pass
    with other.reading() as session:
        assert session.scalar(select(func.count()).select_from(Block)) == 0


def test_a_file_that_is_none_is_said(make, tmp_path, other):
    nonsense, cut, foreign = (tmp_path / name for name in ("n.parquet", "c.parquet", "f.parquet"))
    nonsense.write_text("hello")
    make.rich()
    export_run(make.database, "run-1", cut)
    cut.write_bytes(cut.read_bytes()[:-200])
    pandas.DataFrame({"a": [1]}).to_parquet(foreign)
    for path, sentence in ((nonsense, "is damaged"), (cut, "is damaged"), (foreign, "was not written by")):
        with pytest.raises(Invalid, match=sentence):
            import_run(other, path, NOW)
    with other.reading() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 0


FLOATS = st.floats(width=32) | st.sampled_from([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38])
DOUBLES = st.floats() | st.sampled_from([5e-324, np.pi, -0.0])


@st.composite
def block(draw):
    """What one block brings: who, which series, which steps, which values, which are absent."""
    dtype = draw(st.sampled_from(["f32", "f64"]))
    steps = sorted(draw(st.sets(st.integers(-(2**62), 2**62) | st.integers(0, 8), min_size=1, max_size=6)))
    names = draw(
        st.lists(st.sampled_from(["a", "b", "c{x=1}", "größe"]), min_size=1, max_size=3, unique=True)
    )
    count = len(steps) * len(names)
    return {
        "attempt": draw(st.integers(1, 2)),
        "writer": draw(st.sampled_from(["r0-aaaa", "r1-bbbb"])),
        "names": [f"{name}.{dtype}" for name in names],
        "dtype": dtype,
        "steps": steps,
        "times": draw(st.lists(st.floats(0, 4e9), min_size=len(steps), max_size=len(steps))),
        "values": draw(st.lists(FLOATS if dtype == "f32" else DOUBLES, min_size=count, max_size=count)),
        "absent": draw(st.none() | st.lists(st.booleans(), min_size=count, max_size=count)),
    }


def in_order(content):
    """The rows by series, attempt, writer and step; of one step as they were recorded."""
    rows = list(zip(*content.values(), strict=True))
    names = list(content)
    order = [names.index(name) for name in ("key", "attempt", "writer", "step", "entry")]
    return sorted(rows, key=lambda row: [row[i] for i in order if row[i] is not None])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(block(), max_size=8), st.just(readings.AT_ONCE) | st.integers(1, 40), st.integers(1, 30))
def test_any_run_comes_back(maker, table, tmp_path_factory, migrated_file, sent, at_once, rows):
    folder = tmp_path_factory.mktemp("any")
    databases = []
    for name in ("one", "two"):
        (folder / name).write_bytes(migrated_file.read_bytes())
        databases.append(Database(f"sqlite:///{folder / name}"))
    one, two = databases
    make = maker(one)
    make.run()
    seqs: dict[tuple[int, str], int] = {}
    for number, fields in enumerate(sent, start=1):
        key = (fields["attempt"], fields["writer"])
        seqs[key] = seqs.get(key, 0) + 1
        make.block(
            "run-1",
            seqs[key],
            number,
            fields.pop("names"),
            fields.pop("steps"),
            fields.pop("values"),
            **fields,
        )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(readings, "AT_ONCE", at_once)
        patched.setattr(restore, "AT_ONCE", at_once)
        patched.setattr(export, "GROUP_ROWS", rows)
        export_run(one, "run-1", folder / "a.parquet")
        import_run(two, folder / "a.parquet", NOW)
        export_run(two, "run-1", folder / "b.parquet")
    first, second = table(folder / "a.parquet"), table(folder / "b.parquet")
    if at_once == readings.AT_ONCE:
        assert second.content() == first.content()
    assert in_order(second.content()) == in_order(first.content())
    for part in ("run", "attempts", "series"):
        assert second.about[part] == first.about[part]
    for database in databases:
        database.close()
