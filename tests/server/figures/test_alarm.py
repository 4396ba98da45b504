"""The picture in a message: small, drawn from what was known when it was said, behind a link that only we can make."""

from __future__ import annotations

import io
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from foreshock_server.figures import alarm, chart
from foreshock_server.figures.canvas import SCALE, fitted, width_of
from foreshock_server.figures.curves import curve
from foreshock_server.figures.picture import HEIGHT, WIDTH, Caption, draw
from foreshock_server.figures.scene import Scene, SeriesInfo, forecasts, intervals, limits
from foreshock_server.models import Channel, Delivery, Incident, Series, Transition
from foreshock_server.store import outbox
from foreshock_server.store.links import LASTS, chart_path

MOST_BYTES = 60_000
RED, BLUE, GREEN = (0xC2, 0x34, 0x1D), (0x24, 0x59, 0xC5), (0x1A, 0x7F, 0x37)


def opened(png: bytes) -> Image.Image:
    assert len(png) < MOST_BYTES
    image = Image.open(io.BytesIO(png))
    assert (image.format, image.size) == ("PNG", (WIDTH * SCALE, HEIGHT * SCALE))
    return image.convert("RGB")


def pixels(image: Image.Image, colour: tuple[int, int, int]) -> int:
    """How many are about of that colour."""
    return int((np.abs(np.asarray(image).astype(int) - colour).max(2) < 40).sum())


def drawn(steps, values, *, others=(), resolved=None, **said) -> Image.Image:
    """One series of an alert that says so much, and that fired at its last step."""
    steps, values = np.asarray(steps, np.int64), np.asarray(values, float)
    last = int(steps[-1]) if len(steps) else 7
    info = SeriesInfo("policy_entropy", "policy_entropy", "policy entropy", unit="nat")
    alert = {
        "rule": "r",
        "series": "policy_entropy",
        "state": "firing",
        "severity": "critical",
        "step": last,
        **said,
    }
    fired = {"rule": "r", "series": "policy_entropy", "episode": 1, "kind": "fired", "severity": "critical", "step": last, "since_step": last}  # fmt: skip
    scene = Scene(
        "run-1", curves=(curve(info, steps, values, None, 500),), intervals=intervals([alert], [fired]), limits=limits([alert]),
        forecasts=forecasts([alert]), last_step=last,
    )  # fmt: skip
    caption = Caption("Policy entropy collapse", "policy_entropy · nat", "critical", last, resolved)
    return opened(draw(scene, caption, [curve(info, steps, one, None, 500) for one in others]))


def noisy(count: int) -> np.ndarray:
    return 1 + 0.2 * np.random.default_rng(0).standard_normal(count)


@pytest.mark.parametrize(
    ("steps", "values"),
    [
        (range(400), 0.9 * np.exp(-np.arange(400) / 100)),
        (range(100_000), noisy(100_000)),
        ([17], [0.3]),
        (range(3), [1.0, 1.0, 1.0]),
        (range(3), [1e308, -1e308, 1e-308]),
        ([0, 2**62], [1.0, 2.0]),
        (range(50), np.where(np.arange(50) % 2, np.nan, 1.0)),
    ],
)
def test_a_series_of_any_shape_is_a_small_picture_with_its_line_and_the_step_that_fired(steps, values):
    image = drawn(steps, values)
    assert pixels(image, BLUE) > 50
    assert pixels(image, RED) > 300, "the moment, from top to bottom"


@pytest.mark.parametrize(
    ("values", "word"), [([np.nan] * 30, "NaN"), ([np.inf] * 30, "Infinity"), ([], "nothing")]
)
def test_readings_that_are_no_numbers_are_seen_and_nothing_is_no_fault(values, word):
    image = drawn(range(len(values)), values)
    assert pixels(image, BLUE) == 0
    assert (pixels(image, RED) > 2000) == (word != "nothing")


def test_the_lines_that_the_rule_compared_are_there():
    values = 0.9 * np.exp(-np.arange(400) / 200)
    plain = drawn(range(400), values)
    more = drawn(range(400), values, baseline=0.9, threshold=0.1, warn_level=0.4, clear=0.5)
    assert pixels(more, RED) > pixels(plain, RED) + 300
    assert pixels(more, (0x92, 0x57, 0x00)) > pixels(plain, (0x92, 0x57, 0x00)) + 300
    ahead = drawn(range(400), values, level=0.13, threshold=0.05, forecast={"low_steps": 90, "high_steps": 200, "target_share": 0.1})  # fmt: skip
    assert pixels(ahead, BLUE) < pixels(more, BLUE), "room is left for what is to come"


def test_a_line_far_away_does_not_flatten_the_curve():
    values = 1 + 0.5 * np.sin(np.arange(300) / 20)
    near, far = drawn(range(300), values, threshold=0.2), drawn(range(300), values, threshold=1e9)
    assert pixels(far, BLUE) > 0.8 * pixels(near, BLUE)


def test_the_other_entries_of_a_vector_stay_in_the_background():
    entries = [noisy(300).cumsum() / 300 + one for one in range(12)]
    alone, among = drawn(range(300), entries[0]), drawn(range(300), entries[0], others=entries[1:])
    assert pixels(among, (0xC5, 0xC9, 0xCF)) > pixels(alone, (0xC5, 0xC9, 0xCF)) + 1000


def test_its_end_is_marked_too():
    assert pixels(drawn(range(50), noisy(50), resolved=49), GREEN) > 300


def test_pictures_are_drawn_by_several_threads_at_once():
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: drawn(range(200), noisy(200)).tobytes(), range(8)))
    assert len(set(found)) == 1


def test_words_fit_and_those_that_the_font_has_not_are_told_as_well_as_it_can():
    assert fitted("short", 12, 400) == "short"
    cut = fitted("a very long name " * 50, 12, 200)
    assert cut.endswith("...")
    assert width_of(cut, 12) <= 200
    assert width_of("é", 12) == width_of("e", 12)
    assert width_of("日", 12) == width_of("?", 12)


# -- from the database --


@pytest.fixture
def told(trainer, wire, client):
    """A run whose entropy fell, an alert about it, and the delivery of its message; returns the path of its picture."""
    database = client.app.state.database
    values = np.r_[np.full(400, 0.9), 0.9 * np.exp(-np.arange(100) / 30)]
    trainer.send(1, [wire.rows(1, range(500), values)], [wire.frame(1, ["policy_entropy"])])

    def tell(kind: str = "fired", step: int = 430, sent_as: str | None = None, **detail) -> str:
        with database.writing() as session:
            if session.get(Channel, "ops") is None:
                session.add(
                    Channel(
                        id="ops",
                        name="ops",
                        kind="webhook",
                        config={},
                        enabled=True,
                        origin="api",
                        created_at=0.0,
                    )
                )
                session.add(
                    Incident(
                        run_id="run-1", number=1, family="f", state="open", severity="critical", inhibits=False, firing=[], rules=["r"],
                        opened_step=step, opened_at=0.0, secret="s" * 64,
                    )
                )  # fmt: skip
            change = Transition(
                run_id="run-1", rule="r", series_id=1, episode=1, kind=kind, severity="critical", step=step, since_step=410,
                at=0.0, created_at=0.0, detail={"title": "Policy entropy collapse", "baseline": 0.9, "threshold": 0.2, **detail},
            )  # fmt: skip
            change = session.merge(change)
            session.flush()
            outbox.put(
                session, change, session.get_one(Channel, "ops"), time.time(), incident=1, kind=sent_as
            )
            sent = session.query(Delivery).filter_by(kind=sent_as or kind).one()
            return chart_path(session.get_one(Incident, ("run-1", 1)), sent.id, sent.created_at)

    return tell


def test_the_link_shows_the_picture_and_needs_no_key(told, client):
    path = told()
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert "private" in answer.headers["cache-control"]
    assert pixels(opened(answer.content), BLUE) > 100
    assert client.head(path).status_code == 200


def test_a_link_that_was_changed_is_for_another_message_or_too_old_shows_nothing(told, client, monkeypatch):
    path, other = told(), told("resolved", 480)
    message = re.compile(r"message=[0-9a-f-]+")
    for wrong in (
        path[:-1] + ("0" if path[-1] != "0" else "1"),
        message.sub(message.search(other)[0], path),
        path.replace("until=", "until=9"),
        path.replace("/1/", "/2/"),
        path.replace("run-1", "run-2"),
        path.replace("/incidents/run-1/1/chart.png", "/acknowledge/run-1/1"),
        path.split("?")[0],
    ):
        assert client.get(wrong).status_code == 403, wrong
    monkeypatch.setattr(chart.time, "time", lambda: time.monotonic() + 1e10 + LASTS)
    assert client.get(path).status_code == 403


def test_a_message_is_drawn_as_it_was_when_it_was_said_and_a_reminder_as_it_is(told, client, monkeypatch):
    seen = []
    monkeypatch.setattr("foreshock_server.figures.picture.draw", lambda scene, *_: seen.append(scene) or b"")
    for path in (told(), told("resolved", 480), told("fired", 430, sent_as="repeated")):
        assert client.get(path).status_code == 200
    fired, resolved, repeated = seen
    assert [int(scene.curves[0].steps[-1]) for scene in seen] == [430, 480, 499]
    assert {(one.kind, one.value) for one in fired.limits} == {("baseline", 0.9), ("critical", 0.2)}
    assert (fired.intervals[0].fired, fired.intervals[0].until) == (430, None)
    assert (resolved.intervals[0].fired, resolved.intervals[0].until) == (430, 480)
    assert (repeated.intervals[0].fired, repeated.intervals[0].until) == (430, None)


def test_of_a_long_run_what_came_before_the_trouble_is_shown_and_no_more():
    series = Series(series_id=1, first_step=0, last_step=99_990, points=10_000, axis=None)
    assert alarm._first(series, since=90_000, last=90_100) == 87_500, "250 readings, one every ten steps"
    assert alarm._first(series, since=80_000, last=90_000) == 50_000
    assert alarm._first(series, since=300, last=400) is None
    vector = Series(
        series_id=1,
        first_step=0,
        last_step=99_999,
        points=6_400_000_000,
        axis={"name": "head", "size": 64_000},
    )
    assert alarm._first(vector, since=90_000, last=95_000) == 90_000 - 15


def test_of_a_vector_the_entry_that_the_message_names_is_the_line(trainer, wire, client, told, monkeypatch):
    heads = np.linspace(1.0, 2.0, 6)[None, :] + np.zeros((40, 1))
    heads[:, 3] = 0.1
    vector = wire.series("attention_entropy", axis={"name": "head", "size": 6})
    trainer.send(2, [wire.rows(2, range(40), heads)], [{"frame": 2, "series": [vector]}])
    database = client.app.state.database
    with database.reading() as session:
        number = session.query(Series).filter_by(key="attention_entropy").one().series_id
        [found] = [row for row in session.query(Series) if row.series_id == number]
        change = Transition(detail={"entry": "head 3"})
        main, others = alarm._curves(session, "run-1", found, change, (None, 39))
        mean, every = alarm._curves(session, "run-1", found, Transition(detail={}), (None, 39))
    assert main.values.tolist() == pytest.approx([0.1] * 40)
    assert len(others) == 5
    assert mean.values[0] == pytest.approx(heads[0].mean())
    assert len(every) == 6


def test_a_message_that_is_gone_and_a_server_without_pillow_have_no_picture(told, client, monkeypatch):
    path = told()
    monkeypatch.setitem(sys.modules, "foreshock_server.figures.picture", None)  # as when Pillow is not there
    assert client.get(path).status_code == 404
    monkeypatch.undo()
    with client.app.state.database.writing() as session:
        session.query(Delivery).delete()
    assert client.get(path).status_code == 404
