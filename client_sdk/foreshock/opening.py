"""Arguments and environment -> a Run that has begun: only what people wrote wrongly is refused, and that before training."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .config import Config
from .control import Control
from .guard import guard, say_once
from .run import Run

if TYPE_CHECKING:
    from .send.transport import Transport


def init(
    project: str | None = None,
    name: str | None = None,
    config: Any = None,
    *,
    owner: str | None = None,
    tags: Sequence[str] | str | None = None,
    notes: str | None = None,
    run: str | None = None,
    attempt: int | None = None,
    url: str | None = None,
    api_key: str | None = None,
    dir: str | os.PathLike[str] | None = None,  # noqa: A002 (the setting's name, as in FORESHOCK_DIR)
    disabled: bool | None = None,
    offline: bool | None = None,
    spool_max_bytes: int | None = None,
    flush_seconds: float | None = None,
    every: Mapping[str, int] | str | None = None,
    families: Sequence[str] | str | None = None,
    ranks: str | None = None,
    budget: float | None = None,
    transport: Transport | None = None,
) -> Run:
    """Begin a run, or with `run=` the next attempt of one. Never waits for the network; a server may be absent altogether.

    `config` is kept with the run as JSON: a mapping, a dataclass, an argparse namespace. `owner`, `tags` and `notes` are what a
    new run begins with; afterwards people decide about them. Nobody's login is sent: without `owner` the server takes the name
    of the API key. Whatever is not given comes from
    FORESHOCK_* and then from defaults; a wrong value raises ValueError or TypeError with what to write instead.
    """
    settings = Config.resolve(
        project=project,
        name=name,
        owner=owner,
        tags=tags,
        notes=notes,
        run=run,
        attempt=attempt,
        url=url,
        api_key=api_key,
        dir=dir,
        disabled=disabled,
        offline=offline,
        spool_max_bytes=spool_max_bytes,
        flush_seconds=flush_seconds,
        every=every,
        families=families,
        ranks=ranks,
        budget=budget,
    )
    return open_run(settings, config, transport=transport)


def open_run(
    settings: Config, config: Any = None, *, transport: Transport | None = None, on_disk: bool = True
) -> Run:
    """A Run of checked settings; inert if it is disabled, or if we fail."""
    from .provenance import place_in_job, readable_name

    made_up = (
        uuid.uuid4() if settings.run is None else uuid.uuid5(uuid.NAMESPACE_URL, settings.run)
    )  # one name on all ranks
    control = Control()
    run = Run(
        settings,
        settings.run or made_up.hex,
        settings.name or readable_name(made_up),
        settings.attempt or 1,
        control,
    )
    with guard("init"):
        place = place_in_job(os.environ)
        rank = place[0]
        if settings.disabled or _without_id(settings, rank):
            return run
        if settings.attempt is None:
            run.attempt = _next_attempt(settings, rank, on_disk)
        _begin(run, control, settings, config, place, transport, on_disk)
    return run


def _without_id(settings: Config, rank: int) -> bool:
    """Only the first rank may make up an id: the others would each begin a run of their own."""
    if rank == 0 or settings.run is not None:
        return False
    say_once(
        "rank without run",
        "rank %d records nothing: give every rank the same FORESHOCK_RUN, or watch the first rank only",
        rank,
    )
    return True


def _next_attempt(settings: Config, rank: int, on_disk: bool) -> int:
    """One more than the spool knows of, and than torchrun has started: a relaunched job begins its count of restarts anew."""
    from .spool.folder import highest_attempt

    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "")
    earlier = highest_attempt(settings.dir, settings.run, rank) if settings.run and on_disk else 0
    return max(earlier, int(restarts) if restarts.isdigit() else 0) + 1


def _begin(
    run: Run,
    control: Control,
    settings: Config,
    config: Any,
    place: tuple[int, int],
    transport: Transport | None,
    on_disk: bool,
) -> None:
    from . import lifetime, provenance
    from .record.packing import Writer
    from .send.transport import HttpTransport
    from .session import Session

    rank, world_size = place
    writer = Writer(run.attempt, f"r{rank}-{os.urandom(3).hex()}", (("rank", str(rank)),) if rank else ())
    if transport is None and not settings.offline:
        transport = HttpTransport(settings.url, settings.api_key, user_agent=provenance.user_agent())
    kept = provenance.json_safe({} if config is None else config)
    body: dict[str, Any] = {
        "project": run.project,
        "name": run.name,
        "config": kept if isinstance(kept, dict) else {"config": kept},
        "started_at": time.time(),
        "attempt": writer.attempt,
        "writer": writer.name,
        "info": provenance.facts(rank, world_size),
    }
    said = {"owner": settings.owner, "tags": list(settings.tags), "note": settings.notes}
    body |= {what: words for what, words in said.items() if words}
    folder = provenance.script_folder()
    session = Session(
        settings,
        run.id,
        writer,
        body,
        control,
        place=place,
        transport=transport,
        on_disk=on_disk,
        slow_facts=lambda: provenance.git_facts(folder),
    )
    session.pipeline.start()  # may fail, as at the interpreter's end: then the run stays inert
    run.begin(session)
    lifetime.watch_over(run)
