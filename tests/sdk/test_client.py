"""The notebook's client against a real server on loopback: what was sent is what is read, in every form."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import polars as pl
import pytest
import urllib3
from tests.sdk.served import PLACES, STEPS, Server, judge, text, train

from foreshock import commands
from foreshock.query import columns, figures
from foreshock.query.client import Client, ForeshockError, RunView

KEY = "only-the-second-server-wants-this-key"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A server with three runs, and what they sent."""
    server = Server(tmp_path_factory.mktemp("client"))
    sent = train(server, "run-1", name="brisk-otter")
    train(server, "run-2", name="calm-heron", attempts=2)
    train(server, "run-3", name="calm-heron", project="ssl")
    yield SimpleNamespace(server=server, url=server.url, sent=sent)
    server.close()


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A run with two routers, each a vector of three experts, a histogram and a number of the routers' name; what it sent."""
    server = Server(tmp_path_factory.mktemp("routed"))
    train(server, "run-1", name="brisk-otter")
    values = np.random.default_rng(3).normal(size=(50, 9))
    values[7, 1], values[8, 5] = np.nan, np.inf
    names = [("moe.0", 3, {}), ("moe.1", 3, {}), ("", 2, {"ticks": ["low", "high"]}), ("moe.2", None, {})]
    series = []
    for place, size, more in names:
        labels = {"place": place} if place else {}
        statistic = "load" if place else "histogram"
        one = {
            "statistic": statistic,
            "family": "experts",
            "unit": "",
            "place": place,
            "labels": labels,
            "dtype": "f64",
        }
        one["key"] = f"load{{place={place}}}" if place else "histogram"
        if size:
            one["axis"] = {"name": "expert" if place else "bin", "size": size, **more}
        series.append(one)
    group = {
        "frame": 2,
        "steps": list(range(50)),
        "times": [1.79e9 + i for i in range(50)],
        "values": list(map(text, values.ravel().tolist())),
    }
    block = {
        "v": 1,
        "attempt": 1,
        "writer": "w1",
        "seq": 2,
        "dropped": 0,
        "rows": [group],
        "frames": [{"frame": 2, "series": series}],
    }
    assert server.send("POST", "/runs/run-1/blocks", block)["ack"] == 2
    client = Client(server.url)
    yield SimpleNamespace(run=client.run("run-1"), values=values)
    client.close()
    server.close()


@pytest.fixture
def notebook(world: SimpleNamespace) -> Iterator[Client]:
    client = Client(world.url)
    yield client
    client.close()


@pytest.fixture(params=["arrow", "json"])
def either_format(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with pyarrow, once as if it were not installed."""
    if request.param == "json":
        for module in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
            monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.setitem(sys.modules, "pyarrow.ipc", None)


@pytest.mark.usefixtures("either_format")
def test_a_vector_is_a_frame_of_steps_by_entries(routed):
    view = routed.run.series("load{place=moe.0}")
    np.testing.assert_array_equal(view.values, routed.values[:, :3])
    assert view.entries == ("expert 0", "expert 1", "expert 2")
    assert repr(view) == (
        "<load{place=moe.0} of brisk-otter: 50 readings of 3 entries (expert), steps 0 to 49, 1 not finite>"
    )
    frame = view.to_pandas()
    assert list(frame.columns) == ["key", "place", "step", "time", *view.entries, "attempt"]
    np.testing.assert_array_equal(frame["expert 1"], routed.values[:, 1])
    assert view.to_polars().columns == list(frame.columns)


@pytest.mark.usefixtures("either_format")
def test_some_entries_of_a_vector_can_be_asked_for(routed):
    run = routed.run
    some = run.series("load{place=moe.1}", entries=[2, 0])
    np.testing.assert_array_equal(some.values, routed.values[:, [5, 3]])
    assert some.entries == ("expert 2", "expert 0")
    named = run.series("histogram", entries=["high", 0])
    np.testing.assert_array_equal(named.values, routed.values[:, [7, 6]])
    assert named.entries == ("bin high", "bin low")
    with pytest.raises(ForeshockError, match="histogram has no bin 'middle'"):
        run.series("histogram", entries=["middle"])


@pytest.mark.usefixtures("either_format")
def test_numbers_and_vectors_of_one_name_are_gone_through_one_by_one(routed):
    view = routed.run.series("load")
    assert view.keys == ["load{place=moe.0}", "load{place=moe.1}", "load{place=moe.2}"]
    with pytest.raises(ValueError, match=r"different entries \(numbers, 3\); go through them"):
        view.values  # noqa: B018
    assert [one.values.shape for one in view] == [(50, 3), (50, 3), (50,)]
    assert "3 series" in repr(view)


def test_runs_are_listed_the_latest_first_and_by_project(notebook):
    runs = notebook.runs()
    assert [run.id for run in runs] == ["run-3", "run-2", "run-1"]
    assert [run.id for run in notebook.runs("grpo-math")] == ["run-2", "run-1"]
    assert [run.id for run in notebook.runs(limit=1)] == ["run-3"]
    assert {row["project"]: row["runs"] for row in notebook.projects()} == {"grpo-math": 2, "ssl": 1}
    assert runs.to_pandas().set_index("id").loc["run-1", "last_step"] == STEPS - 1


def test_more_runs_than_one_page_holds_are_all_found(notebook, monkeypatch):
    monkeypatch.setattr("foreshock.query.client.PAGE", 1)
    assert [run.id for run in notebook.runs()] == ["run-3", "run-2", "run-1"]
    assert notebook.run("brisk-otter").id == "run-1"


def test_a_run_is_found_by_id_name_or_project_and_name(notebook, world):
    for asked in ("run-1", "brisk-otter", "grpo-math/brisk-otter"):
        run = notebook.run(asked)
        assert (run.id, run.name, run.project, run.state) == ("run-1", "brisk-otter", "grpo-math", "running")
    assert notebook.run("ssl/calm-heron").id == "run-3"
    assert run.config == {"lr": 1e-5, "note": "<b>"}
    assert run.attempts[0]["info"]["host"] == "n17"
    assert run.last_step == STEPS - 1
    assert run.url.endswith("/runs/run-1")
    assert notebook.runs()[-1].config == run.config  # lists leave it out, so it is asked for


def test_a_name_that_two_runs_have_asks_for_an_id(notebook):
    with pytest.raises(
        ForeshockError,
        match=r"2 runs are called 'calm-heron'; write the id of one: run-3 \(ssl\), run-2 \(grpo-math\)",
    ):
        notebook.run("calm-heron")


def test_a_run_that_is_not_there_names_what_is_close(notebook):
    with pytest.raises(
        ForeshockError, match="no run called 'brisk-oter'; did you mean 'brisk-otter'"
    ) as caught:
        notebook.run("brisk-oter")
    assert caught.value.code == "UnknownRun"


@pytest.mark.usefixtures("either_format")
def test_what_was_sent_is_what_is_read(notebook, world):
    series = notebook.run("run-1").series("policy_entropy")
    assert series.steps.dtype == np.int64
    assert series.values.dtype == np.float64
    assert series.attempts.dtype == np.int32
    assert series.unit == "nat"
    np.testing.assert_array_equal(series.steps, np.arange(STEPS))
    np.testing.assert_array_equal(
        series.values, world.sent["policy_entropy"]
    )  # NaN and infinities in their places
    np.testing.assert_array_equal(series.times, 1.79e9 + np.arange(STEPS))
    assert set(series.attempts.tolist()) == {1}


@pytest.mark.usefixtures("either_format")
def test_a_statistic_of_several_places_gives_all_of_them_in_long_form(notebook, world):
    series = notebook.run("run-1").series("effective_rank")
    assert series.keys == [f"effective_rank{{place={place}}}" for place in PLACES]
    assert len(series) == 3 * STEPS
    frame = series.to_pandas()
    assert list(frame.columns) == ["key", "place", "step", "time", "value", "attempt"]
    assert list(frame["place"].unique()) == list(PLACES)
    for one in series:
        [key] = one.keys
        np.testing.assert_array_equal(one.values, world.sent[key])
        np.testing.assert_array_equal(frame.loc[frame["key"] == key, "value"], world.sent[key])


@pytest.mark.usefixtures("either_format")
def test_a_resumed_run_keeps_its_lives_apart(notebook):
    series = notebook.run("run-2").series("policy_entropy", superseded=True)
    np.testing.assert_array_equal(series.attempts, np.repeat([1, 2], STEPS))
    np.testing.assert_array_equal(series.steps, np.tile(np.arange(STEPS), 2))
    stands = notebook.run("run-2").series("policy_entropy")
    np.testing.assert_array_equal(stands.attempts, np.repeat([2], STEPS))


@pytest.mark.usefixtures("either_format")
def test_bounds_and_thinning(notebook, world):
    run = notebook.run("run-1")
    part = run.series("policy_entropy", first=50, last=150)
    np.testing.assert_array_equal(part.steps, np.arange(50, 151))
    assert np.flatnonzero(np.isnan(part.values)).tolist() == [50]
    thin = run.series("policy_entropy", points=200)
    assert 150 < len(thin) < 400
    finite = world.sent["policy_entropy"][np.isfinite(world.sent["policy_entropy"])]
    assert np.nanmax(thin.values[np.isfinite(thin.values)]) == finite.max()
    assert np.isnan(thin.values[thin.steps == 100]).all()
    empty = run.series("policy_entropy", first=10**6)
    assert len(empty) == 0
    assert empty.values.dtype == np.float64
    assert list(empty.to_pandas().columns) == ["key", "place", "step", "time", "value", "attempt"]


def test_arrow_and_json_give_equal_results(notebook, monkeypatch):
    run = notebook.run("run-2")
    by_arrow = run.series("effective_rank")
    monkeypatch.setattr("foreshock.query.reading.has_arrow", lambda: False)
    by_json = run.series("effective_rank")
    assert by_arrow.keys == by_json.keys
    for name in ("steps", "times", "values", "attempts"):
        one, other = getattr(by_arrow, name), getattr(by_json, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    pd.testing.assert_frame_equal(by_arrow.to_pandas(), by_json.to_pandas())


def test_pandas_polars_and_arrow_agree_and_keep_nan(notebook, world):
    series = notebook.run("run-1").series("policy_entropy")
    pandas, polars, arrow = series.to_pandas(), series.to_polars(), series.to_arrow()
    assert list(pandas.columns) == polars.columns == arrow.column_names
    for values in (pandas["value"].to_numpy(), polars["value"].to_numpy(), arrow["value"].to_numpy()):
        np.testing.assert_array_equal(values, world.sent["policy_entropy"])
    assert polars["value"].null_count() == 0
    assert polars["value"].is_nan().sum() == 2
    assert arrow["value"].null_count == 0
    assert polars["key"].cast(pl.String).to_list() == pandas["key"].tolist() == arrow["key"].to_pylist()


def test_many_keys_travel_in_several_requests(notebook, world, monkeypatch):
    monkeypatch.setattr("foreshock.query.reading.LONGEST_QUERY", 60)
    asked: list[str] = []
    get = notebook.connection.get
    monkeypatch.setattr(
        notebook.connection,
        "get",
        lambda path, *rest, **more: (asked.append(path), get(path, *rest, **more))[1],
    )
    series = notebook.run("run-1").series("effective_rank")
    assert asked.count("/runs/run-1/data") == 3
    assert series.keys == [f"effective_rank{{place={place}}}" for place in PLACES]
    np.testing.assert_array_equal(series.values, np.concatenate([world.sent[key] for key in series.keys]))


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("polcy_entropy", "'policy_entropy'"),
        ("rank", "'effective_rank'"),
        ("qqq", "there are 'policy_entropy'"),
    ],
)
def test_an_unknown_series_names_what_is_close_or_what_there_is(notebook, asked, named):
    with pytest.raises(ForeshockError, match=f"no series of brisk-otter called '{asked}'.*{named}"):
        notebook.run("run-1").series(asked)


def test_a_series_that_appears_later_is_found(world, notebook):
    run = notebook.run("run-3")
    assert len(run.series_list()) == 4
    late = {
        "v": 1, "attempt": 1, "writer": "w-late", "seq": 1, "dropped": 0,
        "frames": [{"frame": 1, "series": [{"key": "loss", "statistic": "loss", "family": "training", "place": "", "labels": {}, "unit": "", "dtype": "f64"}]}],
        "rows": [{"frame": 1, "steps": [0, 1], "times": [1.0, 2.0], "values": [0.5, "NaN"]}],
    }  # fmt: skip
    world.server.send("POST", "/runs/run-3/blocks", late)
    np.testing.assert_array_equal(run.series("loss").values, [0.5, np.nan])


def test_a_figure_is_the_object_that_the_page_draws(notebook, world):
    run = notebook.run("run-1")
    assert "policy-entropy" in [row["name"] for row in run.figures()]
    figure = run.figure("policy-entropy")
    assert isinstance(figure, go.Figure)
    answer = urllib3.request("GET", f"{world.url}/api/v1/runs/run-1/figures/policy-entropy")
    assert json.loads(figure.to_json()) == json.loads(answer.data)
    assert run.figure("policy-entropy", "dark") != figure
    drawn = np.concatenate([np.asarray(trace.y, float) for trace in figure.data if trace.y is not None])
    sent = world.sent["policy_entropy"]
    assert np.isin(sent[np.isfinite(sent)].max(), drawn)  # the highest reading is on it, bit by bit


def test_a_figure_of_some_steps_over_another_axis_is_that_of_the_page(notebook, world):
    run = notebook.run("run-1")
    figure = run.figure("policy-entropy", x="time", first=3, last=9)
    address = f"{world.url}/api/v1/runs/run-1/figures/policy-entropy?x=time&first=3&last=9"
    assert json.loads(figure.to_json()) == json.loads(urllib3.request("GET", address).data)
    assert figure != run.figure("policy-entropy", first=3, last=9) != run.figure("policy-entropy")
    with pytest.raises(ForeshockError, match="first=9 lies after last=3"):
        run.figure("policy-entropy", first=9, last=3)


def test_packed_arrays_of_every_kind_are_read():
    for kind in (np.float64, np.float32, np.int8, np.int16, np.int32, np.uint8, np.uint16, np.uint32):
        whole = go.Figure(go.Heatmap(z=np.arange(6, dtype=kind).reshape(2, 3)))
        read = figures.with_arrays(json.loads(whole.to_json()))
        np.testing.assert_array_equal(read["data"][0]["z"], [[0, 1, 2], [3, 4, 5]])
        assert json.loads(go.Figure(read).to_json()) == json.loads(whole.to_json())


def test_the_ceiling_of_any_two_series_and_why_there_is_none(notebook):
    run = notebook.run("run-1")
    with pytest.raises(ForeshockError, match="no reward"):
        run.ceiling()
    told = run.ceiling(reward=f"effective_rank{{place={PLACES[0]}}}")
    assert (told["status"], told["fit"]) == ("withheld", None)
    assert told["message"]


def test_an_unknown_figure_names_what_is_close(notebook):
    with pytest.raises(
        ForeshockError,
        match="no figure of brisk-otter called 'policy_entropi'; did you mean 'policy-entropy'",
    ):
        notebook.run("run-1").figure("policy_entropi")


def test_alerts_come_with_their_sentences_and_transitions(world, notebook):
    train(world.server, "run-4", name="dying-newt", nan=False)
    judge(world.server, "run-4")
    run = notebook.run("dying-newt")
    [alert] = [row for row in run.alerts() if row["rule"] == "policy-entropy-collapse"]
    assert (alert["state"], alert["severity"], alert["series"]) == ("firing", "critical", "policy_entropy")
    assert run.verdict == "collapsing"
    fired = [row for row in run.transitions() if row["rule"] == "policy-entropy-collapse"]
    assert fired[0]["kind"] == "fired"
    assert fired[0]["step"] < STEPS
    assert alert["message"] in repr(run.alerts())
    assert "policy-entropy-collapse" in set(run.alerts().to_pandas()["rule"])
    assert repr(notebook.run("run-1").alerts()) == "(no alerts)"
    [incident] = [one for one in run.incidents() if "policy-entropy-collapse" in one["rules"]]
    assert (incident["family"], incident["state"]) == ("policy entropy", "open")
    assert "policy-entropy-collapse" in {row["rule"] for row in notebook.alerts() if row["run"] == run.id}
    assert list(notebook.alerts("nobody")) == []
    run.acknowledge(incident["number"])
    known = {one["number"]: one for one in notebook.incidents(state="all") if one["run"] == run.id}
    assert known[incident["number"]]["acknowledged_at"] is not None
    rule = ["policy-entropy-collapse"]
    tried = notebook.backtest(runs=[run], healthy=["run-1"], outcomes={run.id: STEPS}, rules=rule)
    [row] = tried
    assert (row["run"], row["fired_step"]) == ("dying-newt", fired[0]["step"])
    assert (row["lead"], row["healthy"]) == (STEPS - fired[0]["step"], "1 of 1")  # it falls there too
    assert tried.summaries()[rule[0]] in repr(tried.found)


def test_a_run_is_read_in_portions_that_together_are_all_of_it(notebook, world):
    run = notebook.run("run-1")
    parts = list(run.portions("effective_rank", readings=1000))
    assert max(map(len, parts)) <= 1002
    assert len(parts) >= 9
    for key in parts[0].keys:
        found = [one.values for part in parts for one in part if one.keys == [key]]
        np.testing.assert_array_equal(np.concatenate(found), world.sent[key])
    bounded = list(run.portions("policy_entropy", readings=64, first=100, last=299))
    np.testing.assert_array_equal(np.concatenate([part.steps for part in bounded]), np.arange(100, 300))
    twice = notebook.run("run-2").portions("policy_entropy", readings=500, superseded=True)
    assert sum(map(len, twice)) == 2 * STEPS
    with pytest.raises(ValueError, match="readings=0 is no number of readings"):
        next(run.portions("policy_entropy", readings=0))


def test_a_report_is_written_by_the_method_and_by_the_command(notebook, world, tmp_path, capsys):
    place = notebook.run("run-1").report(tmp_path)
    assert place == tmp_path / "run-1.html"
    assert (
        commands.report(
            ["brisk-otter", "-o", str(tmp_path / "r.html"), "--theme", "dark", "--url", world.url]
        )
        == 0
    )
    assert f"brisk-otter -> {tmp_path / 'r.html'}" in capsys.readouterr().out
    assert "color-scheme:dark" in (tmp_path / "r.html").read_text()
    assert "color-scheme:light" in place.read_text()
    assert commands.report(["nobody", "--url", world.url]) == 1
    assert "no run called 'nobody'" in capsys.readouterr().err
    assert commands.report(["run-1", "-o", str(tmp_path / "none" / "r.html"), "--url", world.url]) == 1
    assert "Cannot write" in capsys.readouterr().err


def test_rules_and_statistics_are_listed(notebook):
    assert "policy-entropy-collapse" in [one["id"] for one in notebook.rules()]
    assert {"policy_entropy", "effective_rank"} <= {one["statistic"] for one in notebook.statistics()}
    assert "policy-entropy-collapse" in repr(notebook.rules())


def test_silences_are_made_listed_and_taken_back(notebook):
    silence = notebook.silence(3600, "known", rule="noisy-*", labels={"rank": "1"})
    assert [one["matches"] for one in notebook.silences()] == [{"rule": "noisy-*", "labels": {"rank": "1"}}]
    notebook.unsilence(silence)
    assert list(notebook.silences()) == []
    assert [one["id"] for one in notebook.silences(over=True)] == [silence]


def test_rules_can_be_tried_from_a_file_and_a_threshold_suggested(notebook, tmp_path):
    pack = "pack: own\nrules: []\n"
    (tmp_path / "own.yaml").write_text(pack)
    for given in (pack, tmp_path / "own.yaml", str(tmp_path / "own.yaml")):
        assert notebook.backtest(given, runs=["run-1"]).found["rules"] == []
    assert len(notebook.backtest(healthy=["run-1"])) > 1
    found = notebook.suggest("policy-entropy-explosion", ["run-1"], 0.05)
    assert found["threshold"] is None
    assert "needs 19 at least" in found["refused"]
    with pytest.raises(ForeshockError, match="no rule 'none'"):
        notebook.suggest("none", ["run-1"], 0.05, pack=pack)


def test_what_a_notebook_shows_is_readable_and_escaped(notebook):
    run = notebook.run("run-1")
    assert repr(run) == f"<Run grpo-math/brisk-otter: running, step 2,999, verdict {run.verdict}, id run-1>"
    assert repr(run.series("policy_entropy")).startswith(
        "<policy_entropy [nat] of brisk-otter: 3,000 readings, steps 0 to 2,999, last "
    )
    assert repr(run.series("policy_entropy")).endswith("4 not finite>")
    assert "brisk-otter" in repr(notebook.runs())
    assert notebook.runs("ssl")._repr_html_().count("<tr>") == 2
    assert repr(notebook.runs("nobody")) == "(no runs)"
    hostile = RunView(
        notebook.connection, {**run.fields, "name": "<script>alert(1)</script>", "url": 'http://x/"><script>'}
    )
    assert "<script>" not in hostile._repr_html_()
    assert "effective_rank{place=model.layers.0}" in repr(run.series_list())


def test_what_has_no_method_can_be_asked_by_its_path(notebook):
    assert notebook.get("deliveries", run="run-1")["counts"] == {
        "waiting": 0,
        "delivered": 0,
        "failed": 0,
        "tries": 0,
    }
    assert notebook.get("/runs/run-1")["name"] == "brisk-otter"
    with pytest.raises(ForeshockError) as caught:
        notebook.get("runs/nobody")
    assert caught.value.code == "UnknownRun"


def test_no_server_is_said_at_once_in_one_sentence(capfd):
    began = time.monotonic()
    with pytest.raises(
        ForeshockError,
        match=r"No Foreshock server answers at http://127.0.0.1:9 \(.*refused.*\)\. Is `foreshock serve` running there\?",
    ):
        Client("http://127.0.0.1:9").runs()
    assert time.monotonic() - began < 2.0
    assert capfd.readouterr().err == ""


def test_the_servers_sentence_is_the_errors(notebook):
    with pytest.raises(ForeshockError, match="first=9 lies after last=3; exchange them") as caught:
        notebook.run("run-1").series("policy_entropy", first=9, last=3)
    assert caught.value.status == 422


def test_something_else_at_the_address_is_named():
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        with pytest.raises(ForeshockError, match="answered 501, and not as a Foreshock server does"):
            Client(f"http://127.0.0.1:{other.server_port}").runs()
        other.shutdown()
        thread.join()


def test_the_key_is_sent_and_a_missing_one_is_explained(tmp_path, monkeypatch):
    server = Server(tmp_path, api_key=KEY)
    try:
        with pytest.raises(ForeshockError, match="This server wants a key") as caught:
            Client(server.url).runs()
        assert caught.value.status == 401
        assert Client(server.url, KEY).runs() == []
        monkeypatch.setenv("FORESHOCK_URL", server.url)
        monkeypatch.setenv("FORESHOCK_API_KEY", KEY)
        assert Client().runs() == []
        assert KEY not in repr(Client())
    finally:
        server.close()


@pytest.mark.parametrize(
    ("method", "package"), [("to_pandas", "pandas"), ("to_polars", "polars"), ("to_arrow", "pyarrow")]
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch, method, package):
    one = np.zeros(1)
    view = columns.SeriesView(
        [columns.Column("k", "", "", one.astype(np.int64), one, one, one.astype(np.int32))]
    )
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"pip install {package}, or pip install 'foreshock\[notebook\]'"):
        getattr(view, method)()


def test_the_client_loads_neither_torch_nor_any_frame_library():
    code = "import sys, foreshock; foreshock.Client; print(sorted({'torch', 'pandas', 'polars', 'pyarrow', 'plotly', 'sqlalchemy', 'fastapi'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == []
