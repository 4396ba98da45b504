"""A run over HTTP as one Parquet file: written whole beside the data, then sent, so that a fault is an answer and no half file."""

from __future__ import annotations

import tempfile
import threading
import weakref
from contextlib import ExitStack
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from foreshock_server.errors import Overloaded
from foreshock_server.exchange.export import export_run
from foreshock_server.exchange.layout import MEDIA_TYPE

router = APIRouter(tags=["query"])

MOST_EXPORTS = 4  # at a time in this process, from the first row written to the last byte sent: each is a file and a thread
_room = threading.BoundedSemaphore(MOST_EXPORTS)


@router.get(
    "/runs/{run}/export",
    response_class=FileResponse,
    responses={
        200: {
            "content": {MEDIA_TYPE: {}},
            "description": "All readings, one row each, and what is known of the run.",
        }
    },
)
def get_export(request: Request, run: str) -> FileResponse:
    """The whole run as Parquet, as `foreshock export` writes it and `foreshock import` reads it."""
    if not _room.acquire(blocking=False):
        raise Overloaded(
            f"{MOST_EXPORTS} exports are in course here, the most at a time; ask again in a while.",
            retry_after=10.0,
        )
    with ExitStack() as held:
        held.callback(_room.release)
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="foreshock-export-"))
        exported = export_run(request.app.state.database, run, Path(folder) / "run.parquet")
        response = FileResponse(exported.path, media_type=MEDIA_TYPE, filename=f"{run}.parquet")
        # when it was sent, or else when nobody holds it any more
        response.background = BackgroundTask(weakref.finalize(response, held.pop_all().close))
        return response
