"""Rows in, delivered blocks out: the spool with the recorder before it and the sender behind it, begun and ended in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import Config
from .control import Control
from .guard import guard, log
from .losses import Losses
from .record.monitor import Gauges
from .record.packing import HostRow, Writer
from .record.recorder import Recorder
from .send.courier import Courier
from .send.sender import Sender
from .send.transport import Transport
from .spool.folder import Folder
from .spool.spool import Spool

if TYPE_CHECKING:
    from .measure.finish import StepRow


@dataclass(frozen=True)
class Ended:
    """How a run's data stands when its process lets go of it."""

    delivered: bool  # everything reached the server
    lost: int  # readings that were neither delivered nor written to the disk
    where: Path | None  # what was not delivered waits here

    def report(self, config: Config) -> None:
        """Say what did not arrive, and what to do; silence means that everything did."""
        if self.delivered:
            return
        if self.lost:
            log.warning(
                "foreshock: %d readings reached neither the server nor a disk; they are lost", self.lost
            )
        if self.where is None:
            return
        if config.offline:
            log.info("foreshock: recorded in %s; `foreshock sync %s` ships it", self.where, self.where)
        else:
            log.warning(
                "foreshock: the server at %s does not have everything yet: `foreshock sync %s --url %s` ships what waits",
                config.url,
                self.where,
                config.url,
            )


class Pipeline:
    """Two threads: the recorder must never wait for the network, the sender may."""

    def __init__(
        self,
        config: Config,
        run: str,
        writer: Writer,
        body: Mapping[str, Any],
        control: Control,
        *,
        transport: Transport | None,
        on_disk: bool = True,
        slow_facts: Callable[[], Mapping[str, Any]] = dict,
        device_drops: Callable[[], int] = lambda: 0,
        gauges: Callable[[], Gauges] = Gauges,
    ) -> None:
        self.losses = Losses()
        self._config = config
        folder = Folder.of(config.dir.absolute(), run, writer.attempt, writer.name) if on_disk else None
        self.spool = Spool(folder, self.losses, max_bytes=config.spool_max_bytes)
        self.courier: Courier | None = None
        self._sender: Sender | None = None
        self._transport = transport
        if transport is not None:
            self.courier = Courier(run, self.spool, transport, on_answer=_hearing(control))
            self._sender = Sender(self.courier)
        self.recorder = Recorder(
            self.spool,
            self.losses,
            writer,
            {"url": config.url, "body": dict(body)},
            slow_facts=slow_facts,
            wake_sender=self._sender.wake if self._sender else lambda: None,
            sender_seconds=self._sender_seconds,
            device_drops=device_drops,
            gauges=gauges,
        )

    def start(self) -> None:
        """Begin both threads."""
        self.recorder.start()
        if self._sender is not None:
            self._sender.start()

    def put(self, row: HostRow | StepRow, readings: int) -> None:
        """One row, from the training thread."""
        self.recorder.put(row, readings)

    def settle(self, seconds: float) -> bool:
        """Wait until what was put so far is delivered; False when it took longer, or the server refuses."""
        deadline = time.monotonic() + seconds
        if not self.recorder.flush(seconds):
            return False
        seq = self.recorder.seq
        while self.courier is not None and self.courier.delivered < seq:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.001)
        return True

    def finish(self, state: str, seconds: float) -> Ended:
        """Record and deliver what is left, for at most these seconds."""
        deadline = time.monotonic() + seconds
        # The disk comes first, and gets a moment even where the user wants to wait for nothing.
        lost = 0 if self.recorder.close(state, max(0.5, seconds)) else self.recorder.give_up()
        if self._sender is not None and self._sender.close(deadline):
            self.spool.discard()
            if self._transport is not None:
                self._transport.close()
            return Ended(True, lost, None)
        lost += self.spool.give_up()
        self.spool.release()
        return Ended(False, lost, self.spool.where)

    def abandon(self) -> None:
        """In a fork's child: let go of the parent's files and process without touching them."""
        self.spool.abandon()
        self.recorder.abandon()

    def _sender_seconds(self) -> float:
        return self._sender.seconds if self._sender is not None else 0.0


def _hearing(control: Control) -> Callable[[Mapping[str, Any]], None]:
    def hear(body: Mapping[str, Any]) -> None:
        with guard("reading the server's answer"):
            control.hear(body.get("alerts") or ())

    return hear
