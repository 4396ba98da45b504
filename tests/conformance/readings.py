"""Numbers in, the same numbers out: logged, resumed, by several ranks, by hand, thinned, drawn, and as they come."""

from __future__ import annotations

import base64
import math
import os
import time
from unittest import mock

import msgpack
import numpy as np
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from .by_hand import address_of, block_of, opening_of, series_of
from .subject import Subject, Viewer, soon

BLOCK = "application/x-foreshock-block"


def what_is_logged_is_read_back_exactly(subject: Subject) -> None:
    """Every float64, not finite ones among them, at the step at which it was logged, once."""
    logged = {"loss": [], "wild": []}
    with subject.begin("exact", config={"lr": 1e-5}) as run:
        for step in range(300):
            logged["loss"].append(math.sin(step) / 3)
            logged["wild"].append((1e300, -0.0, math.nan, math.inf, -math.inf, 5e-324)[step % 6])
            run.log({name: values[-1] for name, values in logged.items()})
            run.step()
    seen = subject.run("exact")
    for name, values in logged.items():
        series = seen.series(name)
        assert series.steps.tolist() == list(range(300))
        assert series.values.tobytes() == np.array(values).tobytes(), name
    assert seen.state == "finished"
    assert seen.config == {"lr": 1e-5}
    assert [life["state"] for life in seen.attempts] == ["finished"]
    soon(
        lambda: seen.refresh().fields["points"] >= 600 and seen.last_step == 299, "the run counts its points"
    )
    counted = {one["key"]: one["points"] for one in seen.series_list()}
    assert (counted["loss"], counted["wild"]) == (300, 300)


def viewers_hear_of_it_as_it_happens(subject: Subject) -> None:
    """A live stream tells of each change in time, and goes on where it was left."""
    run = subject.begin("live")
    run.log(loss=1.0)
    run.step()
    soon(lambda: subject.run("live").last_step == 0, "the first step")
    path = f"/api/v1/runs/{subject.named('live')}/live"
    viewer = Viewer(subject, path)
    for step in range(1, 40):
        run.log(loss=1.0 / step)
        run.step()
        time.sleep(0.02)
    soon(lambda: any(event["last_step"] == 39 for _, event in viewer.events), "an event with the last step")
    run.finish()
    soon(lambda: any(event["state"] == "finished" for _, event in viewer.events), "an event that it ended")
    viewer.close()
    revisions = [event["revision"] for _, event in viewer.events]
    assert revisions == sorted(set(revisions)), "an event came twice, or backwards"
    assert {event["run"] for _, event in viewer.events} == {subject.named("live")}
    again = Viewer(subject, f"{path}?cursor={revisions[-1] - 1}")
    soon(lambda: [event["revision"] for _, event in again.events][:1] == revisions[-1:], "what came since")
    again.close()


def a_resume_is_the_next_attempt(subject: Subject) -> None:
    """One run with two lives, whose readings follow each other."""
    for attempt, steps in ((1, range(50)), (2, range(50, 90))):
        with subject.begin("resumed") as run:
            assert run.attempt == attempt
            for step in steps:
                run.log(loss=float(step))
                run.step(step)
    seen = subject.run("resumed")
    series = seen.series("loss")
    assert series.steps.tolist() == list(range(90))
    assert series.attempts.tolist() == [1] * 50 + [2] * 40
    assert series.values.tolist() == [float(step) for step in range(90)]
    assert [(life["attempt"], life["state"]) for life in seen.attempts] == [(1, "finished"), (2, "finished")]


def a_resume_from_a_checkpoint_replaces_what_it_repeats(subject: Subject) -> None:
    """Steps that the second life took again are shown from it; the first life's are kept, and shown when asked for."""
    for attempt, steps in ((1, range(50)), (2, range(30, 60))):
        with subject.begin("rewound") as run:
            for step in steps:
                run.log(loss=100.0 * attempt + step)
                run.step(step)
    seen = subject.run("rewound")
    shown = seen.series("loss")
    assert shown.steps.tolist() == list(range(60))
    assert shown.attempts.tolist() == [1] * 30 + [2] * 30
    assert shown.values.tolist() == [100.0 * (1 if step < 30 else 2) + step for step in range(60)]
    both = seen.series("loss", superseded=True)
    assert both.steps.tolist() == [*range(50), *range(30, 60)]
    assert both.attempts.tolist() == [1] * 50 + [2] * 30


def ranks_are_kept_apart(subject: Subject) -> None:
    """Two processes of one attempt: the first with plain names, the second with its label."""
    runs = []
    for rank in (0, 1):
        with mock.patch.dict(os.environ, {"RANK": str(rank), "WORLD_SIZE": "2"}):
            runs.append(subject.begin("ranks", attempt=1))
    for step in range(30):
        for rank, run in enumerate(runs):
            run.log(loss=10.0 * rank + step)
            run.step()
    for run in runs:
        run.finish()
    seen = subject.run("ranks")
    for rank, key in enumerate(("loss", "loss{rank=1}")):
        series = soon(lambda key=key: seen.refresh().series(key), key)
        assert series.values.tolist() == [10.0 * rank + step for step in range(30)]


def ranks_that_share_rows_are_merged(subject: Subject) -> None:
    """What says how several ranks become one is merged, exactly, by whoever works behind the service."""
    about = {"title": None, "low": None, "high": None, "source": None, "merge": "sum"}
    steps = list(range(40))
    for rank in (0, 1):
        labels = {"rank": "1"} if rank else {}
        series = {
            "key": "spark_count{rank=1}" if rank else "spark_count",
            "statistic": "spark_count",
            "family": "policy entropy",
            "place": "",
            "labels": labels,
            "unit": "",
            "dtype": "f64",
            "about": about,
        }
        rows = {"frame": 1, "steps": steps, "times": [1.79e9 + step for step in steps]}
        block = block_of(
            f"r{rank}-{subject.token[:6]}",
            1,
            [{**rows, "values": [step * (rank + 1.0) for step in steps]}],
            [{"frame": 1, "series": [series]}],
        )
        opening = {**opening_of(block["writer"]), "info": {"world_size": 2, "rank": rank}}
        assert subject.ask("PUT", address_of(subject, "merged"), opening).status == 200
        assert subject.ask("POST", f"{address_of(subject, 'merged')}/blocks", block).body["ack"] == 1
    closing = {"state": "finished", "at": time.time(), "last_seq": {}}
    assert subject.ask("POST", f"{address_of(subject, 'merged')}/attempts/1/finish", closing).status == 200
    seen = subject.run("merged")
    soon(lambda: len(seen.refresh().series("spark_count{rank=all}")) == 40, "every step of the merged series")
    merged = seen.series("spark_count{rank=all}")
    assert merged.values.tolist() == [3.0 * step for step in steps]


def thinning_keeps_what_matters(subject: Subject) -> None:
    """Few points of many: a spike of one step, a dip and every NaN are still there."""
    values = [math.sin(step / 200) for step in range(5000)]
    values[1234], values[3456], values[4000] = 1e6, -1e6, math.nan
    with subject.begin("thinned") as run:
        for value in values:
            run.log(loss=value)
            run.step()
    path = f"{address_of(subject, 'thinned')}/data?key=loss&points=200"
    drawn = subject.ask("GET", path).body["series"][0]
    assert len(drawn["steps"]) < 1000
    read = dict(zip(drawn["steps"], drawn["values"], strict=True))
    assert (read[1234], read[3456]) == (1e6, -1e6)
    assert (drawn["nan"], drawn["nan_total"]) == ([4000], 1)
    part = subject.run("thinned").series("loss", first=100, last=199)
    assert part.values.tolist() == values[100:200]


def a_block_is_stored_once(subject: Subject) -> None:
    """Sent twice, late, out of order, in JSON or in msgpack: the same readings, once each, acknowledged in order."""
    where = address_of(subject, "once")
    assert subject.ask("PUT", where, opening_of("r0-a")).status == 200
    frames = [{"frame": 1, "series": [series_of("x")]}]
    packed = {
        "frame": 1,
        "steps": np.array([4, 5], "<i8").tobytes(),
        "times": np.array([4.0, 5.0], "<f8").tobytes(),
        "values": np.array([0.4, 0.5], "<f8").tobytes(),
    }
    first = {"frame": 1, "steps": [0, 1], "times": [0.0, 1.0], "values": [0.0, "NaN"]}
    second = {"frame": 1, "steps": [2, 3], "times": [2.0, 3.0], "values": [0.2, "-Infinity"]}
    third = msgpack.packb(block_of("r0-a", 3, [packed], frames))
    acks = [
        subject.ask("POST", f"{where}/blocks", third, {"Content-Type": BLOCK}).body["ack"],
        subject.ask("POST", f"{where}/blocks", block_of("r0-a", 1, [first], frames)).body["ack"],
        subject.ask("POST", f"{where}/blocks", block_of("r0-a", 1, [first], frames)).body["ack"],
        subject.ask("POST", f"{where}/blocks", third, {"Content-Type": BLOCK}).body["ack"],
        subject.ask("POST", f"{where}/blocks", block_of("r0-a", 2, [second])).body["ack"],
    ]
    assert acks == [0, 1, 1, 1, 3]
    seen = subject.run("once").series("x")
    assert seen.steps.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(seen.values, [0.0, math.nan, 0.2, -math.inf, 0.4, 0.5])
    assert subject.run("once").fields["points"] == 6


def an_export_is_what_was_logged(subject: Subject) -> None:
    """One Parquet file that any tool reads, with the same numbers."""
    values = [math.nan if step == 7 else math.cos(step) for step in range(100)]
    with subject.begin("exported") as run:
        for value in values:
            run.log(loss=value)
            run.step()
    table = parquet.read_table(subject.client.export(subject.named("exported"), subject.folder))
    loss = table.filter(compute.equal(table["key"], "loss"))
    assert loss["step"].to_pylist() == list(range(100))
    assert loss["value"].to_numpy().tobytes() == np.array(values).tobytes()
    assert set(loss["run"].to_pylist()) == {subject.named("exported")}


def figures_are_drawn_from_what_is_stored(subject: Subject) -> None:
    """The figure of a series has its readings, packed as Plotly reads them."""
    with subject.begin("drawn") as run:
        for step in range(100):
            run.log(policy_entropy=1.0 - step / 1000)
            run.step()
    seen = subject.run("drawn")
    names = {one["name"] for one in soon(lambda: seen.figures(), "figures")}
    assert "policy-entropy" in names or names, names
    drawn = subject.ask("GET", f"{address_of(subject, 'drawn')}/figures/series?key=policy_entropy").body
    line = max(drawn["data"], key=lambda trace: len(_numbers(trace.get("y", []))))
    assert _numbers(line["y"]) == [1.0 - step / 1000 for step in range(100)]


def _numbers(column: object) -> list[float]:
    """A column of a figure: a list, or Plotly's packed array."""
    if isinstance(column, dict):
        return np.frombuffer(base64.b64decode(column["bdata"]), column["dtype"]).tolist()
    return list(column)  # type: ignore[call-overload]
