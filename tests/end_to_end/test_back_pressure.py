"""A server that has no room says so, and the SDK keeps everything until there is some: nothing is lost and training never waits."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from tests.topology.processes import eventually

import foreshock
from foreshock_server import migrate
from foreshock_server.app import create_app
from foreshock_server.db import Database
from foreshock_server.settings import Settings
from foreshock_server.store.blocks import read
from foreshock_server.store.series import find_series

STEPS = 200


def test_a_server_without_room_gets_everything_later(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'foreshock.db'}"
    database = Database(url)
    migrate.to_head(database)
    database.close()
    app = create_app(Settings(database_url=url, data_dir=tmp_path, workers=False))
    receiver = app.state.receiver
    refusals: list[int] = []
    hog = receiver.budget.open("hog")
    hog.grow(receiver.budget.most)
    move = receiver.budget.move

    def counted(run_id: str, size: int) -> Any:
        try:
            return move(run_id, size)
        except Exception:
            refusals.append(size)
            raise

    receiver.budget.move = counted
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started, 30)
        port = server.servers[0].sockets[0].getsockname()[1]
        run = foreshock.init(
            project="p", run="r1", url=f"http://127.0.0.1:{port}", dir=tmp_path / "spool", flush_seconds=60.0
        )
        for step in range(STEPS):
            run.log(loss=float(step))
            run.step()
            time.sleep(0.005)
        eventually(lambda: len(refusals) >= 2, 30)
        hog.release()
        run.finish()
        with app.state.database.reading() as session:
            series = find_series(session, "r1", "loss").series_id
            columns = read(session, "r1", [series])[series]
        assert columns.values.tolist() == [float(step) for step in range(STEPS)]
        assert receiver.budget.used == 0
    finally:
        server.should_exit = True
        thread.join(20)
