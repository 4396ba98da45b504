"""A live run followed from a notebook: everything that comes, once, in order, until the run is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.sdk.served import Server, Trainer, judge

from foreshock.query import following
from foreshock.query.client import Client, ForeshockError


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("following"))
    yield server
    server.close()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    client = Client(server.url)
    yield client
    client.close()


def pairs(first: int, steps: int) -> np.ndarray:
    return np.stack([np.arange(first, first + steps) / 100, np.ones(steps)], axis=1)


def in_background(work: Any) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_every_reading_comes_once_and_the_end_of_the_run_ends_it(server, client):
    trainer = Trainer(server, "walks")
    trainer.send(0, pairs(0, 20))

    def train() -> None:
        for first in range(20, 100, 20):
            time.sleep(0.15)
            trainer.send(first, pairs(first, 20))
        trainer.finish()

    thread = in_background(train)
    heard: list[int] = []
    for news in client.run("walks").follow("policy_entropy", since=0, every=0.05, seconds=30):
        view = news["policy_entropy"]
        np.testing.assert_array_equal(view.values, view.steps / 100)
        heard += view.steps.tolist()
    thread.join()
    assert heard == list(range(100))
    assert (news.run.state, news.step) == ("finished", 99)


def test_without_since_only_what_comes_from_now_on_is_told(server, client):
    trainer = Trainer(server, "joined-late")
    trainer.send(0, pairs(0, 50))
    follower = client.run("joined-late").follow("policy_entropy", "reward_mean", every=0.05, seconds=30)
    first = next(follower)
    assert (len(first["policy_entropy"]), first.step) == (0, 49)
    trainer.send(50, pairs(50, 5))
    second = next(follower)
    assert (
        second["policy_entropy"].steps.tolist()
        == second["reward_mean"].steps.tolist()
        == [50, 51, 52, 53, 54]
    )
    follower.close()


def test_what_a_resumed_run_reads_anew_is_told_again(server, client):
    trainer = Trainer(server, "resumed")
    trainer.send(0, pairs(0, 30))
    follower = client.run("resumed").follow("policy_entropy", since=0, every=0.05, seconds=30)
    assert next(follower)["policy_entropy"].steps.tolist() == list(range(30))
    again = Trainer(server, "resumed", attempt=2)
    again.send(20, pairs(20, 15))
    heard: list[int] = []
    while len(heard) < 15:
        view = next(follower)["policy_entropy"]
        assert set(view.attempts.tolist()) <= {2}
        heard += view.steps.tolist()
    assert heard == list(range(20, 35))
    follower.close()


def test_an_alert_is_told_when_it_fires(server, client):
    trainer = Trainer(server, "dies")
    entropy = np.exp(-np.maximum(np.arange(600) - 100, 0) / 60)
    values = np.stack([entropy, np.ones(600)], axis=1)
    trainer.send(0, values[:50])
    follower = client.run("dies").follow(every=0.05, seconds=30)
    assert list(next(follower).changes) == []
    trainer.send(50, values[50:])
    judge(server, "dies")
    told: list[str] = []
    while "policy-entropy-collapse" not in told:
        told += [change["rule"] for change in next(follower).changes if change["kind"] == "fired"]
    assert told.count("policy-entropy-collapse") == 1
    follower.close()


def test_a_name_that_is_not_there_yet_is_said_and_waited_for(server, client):
    trainer = Trainer(server, "empty")
    follower = client.run("empty").follow("policy_entropy", since=0, every=0.05, seconds=30)
    assert len(next(follower)["policy_entropy"]) == 0
    trainer.send(0, pairs(0, 3))
    assert next(follower)["policy_entropy"].steps.tolist() == [0, 1, 2]
    follower.close()
    follower = client.run("empty").follow("polcy_entropy", since=0, every=0.05, seconds=30)
    with pytest.warns(UserWarning, match=r"did you mean 'policy_entropy'\? It may still come"):
        next(follower)
    follower.close()


def test_it_ends_after_the_seconds_that_were_given(server, client):
    Trainer(server, "idles").send(0, pairs(0, 3))
    began = time.monotonic()
    [news] = client.run("idles").follow("policy_entropy", since=0, seconds=0.4)
    assert len(news["policy_entropy"]) == 3
    assert time.monotonic() - began < 12.0  # the stream itself says something every 15


def test_a_deleted_run_ends_it_with_a_sentence(server, client):
    Trainer(server, "deleted").send(0, pairs(0, 3))
    follower = client.run("deleted").follow(every=0.05, seconds=30)
    next(follower)
    client.delete("deleted")
    with pytest.raises(ForeshockError, match=r"deleted|No run has this id"):
        next(follower)


def test_a_server_that_is_away_is_waited_for(server, client, monkeypatch):
    monkeypatch.setattr(following, "WAITS", (0.05, 0.1))
    trainer = Trainer(server, "patient")
    trainer.send(0, pairs(0, 3))
    run = client.run("patient")
    follower = run.follow("policy_entropy", since=0, every=0.05, seconds=30)
    next(follower)
    asked = []
    lines = run.connection.lines

    def away(*arguments: Any) -> Iterator[str]:
        asked.append(arguments)
        if len(asked) < 3:
            raise ForeshockError("nobody answers")
        return lines(*arguments)

    monkeypatch.setattr(run.connection, "lines", away)
    trainer.send(3, pairs(3, 2))
    assert next(follower)["policy_entropy"].steps.tolist() == [3, 4]
    assert len(asked) == 3
    follower.close()


def test_a_finished_run_is_told_once(server, client):
    trainer = Trainer(server, "over")
    trainer.send(0, pairs(0, 4))
    trainer.finish("failed")
    [news] = client.run("over").follow("policy_entropy", since=2, seconds=30)
    assert news["policy_entropy"].steps.tolist() == [2, 3]
    assert news.run.state == "failed"
    assert "2 new readings" in repr(news)
