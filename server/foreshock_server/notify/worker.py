"""Due deliveries -> sent and recorded. Several workers in several processes share the outbox; each claims what it sends."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from foreshock_server import models
from foreshock_server.bus import Bus
from foreshock_server.db import Database
from foreshock_server.notify.channel import Answer, Channel, NotDelivered
from foreshock_server.notify.digest import digest_of
from foreshock_server.notify.kinds import open_channel as open_way
from foreshock_server.notify.kinds import way_of
from foreshock_server.notify.message import Chart, Message, Opening, message_of
from foreshock_server.notify.wording import about, headline
from foreshock_server.settings import Settings
from foreshock_server.store import digests, outbox
from foreshock_server.store.links import chart_path
from foreshock_server.telemetry import of_run

log = logging.getLogger(__name__)

SENDERS = 8  # threads; with PER_CHANNEL sends to one channel, three slow receivers leave room for a fourth
_LOOK_AGAIN = 0.25  # seconds between looks for new work while a slow send is in course


class NotSent(NotDelivered):
    """Nothing was sent, so the channel did not fail."""


class Deliverer:
    """Owns the threads that send. One `run_once` at a time."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        bus: Bus,
        *,
        runbook_of: Callable[[str], Mapping[str, Any] | None] = lambda _rule: None,
        picture_of: Callable[[Session, outbox.Parcel], bytes | None] | None = None,
        open_channel: Callable[[models.Channel], Channel] | None = None,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._settings = settings
        self._bus = bus
        self._runbook_of = (
            runbook_of  # rule id -> what to tell people; the rules themselves are not ours to know
        )
        self._picture_of = picture_of  # None: messages go without
        self._open = open_channel or (lambda row: open_way(row, way_of(row, settings)))
        self._clock = clock
        self._chance = chance
        self._pool = ThreadPoolExecutor(SENDERS, thread_name_prefix="foreshock-deliver")
        self._closing = threading.Event()

    def run_once(self) -> int:
        """Send what is due, and what becomes due meanwhile; counts the outcomes recorded. A slow receiver holds no other."""
        sends: set[Future[None]] = set()
        outcomes = 0
        while not self._closing.is_set():
            for parcel in self._claim(SENDERS - len(sends)):
                try:
                    sends.add(self._pool.submit(self._deliver, parcel))
                except RuntimeError:  # closed since the loop began; the lease ends by itself
                    return outcomes
            if not sends:
                break
            done, sends = wait(sends, _LOOK_AGAIN, FIRST_COMPLETED)
            for send in done:
                send.result()
                outcomes += 1
        return outcomes

    def next_due(self) -> float | None:
        """When `run_once` next has something to do, in seconds since the epoch; None when nothing waits."""
        with self._database.reading() as session:
            return outbox.next_due(session, self._clock())

    def close(self) -> None:
        """Send nothing more. What is in course ends by its deadline; what was not recorded is sent again by another."""
        self._closing.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _claim(self, room: int) -> list[outbox.Parcel]:
        now = self._clock()
        if room <= 0:
            return []
        with self._database.reading() as session:  # looking is free; SQLite's one writer is not
            due = outbox.next_due(session, now)
        if due is None or due > now:
            return []
        with self._database.writing() as session:
            return outbox.parcels(session, outbox.claim(session, now, limit=room))

    @of_run(lambda parcel: parcel.delivery.run_id)
    def _deliver(self, parcel: outbox.Parcel) -> None:
        delivery = parcel.delivery
        began, clock = self._clock(), time.monotonic()

        def tried(answer: Answer | None) -> outbox.Try:
            told = answer or Answer()
            return outbox.Try(began, round(time.monotonic() - clock, 3), told.status, told.said)

        try:
            answer = self._send(parcel)
        except NotDelivered as problem:
            with self._database.writing() as session:
                final = outbox.failed(
                    session,
                    delivery,
                    self._clock(),
                    str(problem),
                    retry_after=problem.retry_after,
                    permanent=problem.permanent,
                    refused=problem.refused,
                    chance=self._chance(),
                    tried=tried(problem.answer),
                    of_channel=not isinstance(problem, NotSent),
                )
            log.log(
                logging.ERROR if final else logging.WARNING,
                "%s of %s in run %s not delivered to channel %s, try %d%s: %s",
                delivery.kind,
                delivery.rule,
                delivery.run_id,
                delivery.channel_id,
                delivery.tries,
                "; given up" if final else "",
                problem,
            )
        else:
            with self._database.writing() as session:
                outbox.delivered(
                    session, delivery, self._clock(), tried(answer), (answer or Answer()).receipt
                )
        self._bus.publish(delivery.run_id)

    def _send(self, parcel: outbox.Parcel) -> Answer:
        if parcel.transition is None:
            raise NotSent("the run was deleted before this was sent", permanent=True)
        if parcel.channel is None:
            raise NotSent("the channel was deleted before this was sent", permanent=True)
        if not parcel.channel.enabled:
            raise NotSent("the channel was disabled before this was sent", permanent=True)
        message = self._message(parcel)
        try:
            return self._open(parcel.channel).send(message, parcel.delivery.id)
        except NotDelivered:
            raise
        except Exception as error:  # a fault of ours in one channel must not stop the others, nor stay unseen
            log.exception("our fault, while sending to channel %s", parcel.channel.id)
            raise NotDelivered(
                f"a fault of Foreshock's ({type(error).__name__}); the server's log has it"
            ) from error

    def _message(self, parcel: outbox.Parcel) -> Message:
        if parcel.delivery.kind != digests.DIGEST:
            return self._behind(parcel, self._single(parcel))
        with self._database.reading() as session:
            parts = digests.parts(session, parcel.delivery.id)
        told = [self._single(one) for one in parts if one.transition is not None]
        return digest_of(told or [self._single(parcel)], self._settings.page_url)

    def _behind(self, parcel: outbox.Parcel, message: Message) -> Message:
        """The message, with the first one about the same incident where it can be answered."""
        with self._database.reading() as session:
            first = outbox.opening(session, parcel.delivery)
        if first is None or first.transition is None or first.delivery.receipt is None:
            return message
        return replace(message, opening=Opening(first.delivery.receipt, self._single(first)))

    def _single(self, parcel: outbox.Parcel) -> Message:
        assert parcel.transition is not None  # noqa: S101 (whoever calls has looked)
        message = message_of(
            parcel.transition,
            parcel.run,
            parcel.series,
            self._settings.page_url,
            self._runbook_of(parcel.transition.rule),
            parcel.incident,
            parcel.delivery,
        )
        if self._picture_of is None or parcel.series is None:
            return message
        words = message.alert.message or f"{headline(message, emoji=False)} · {about(message)}"
        return replace(message, chart=Chart(words, self._chart_url(parcel), lambda: self._drawn(parcel)))

    def _chart_url(self, parcel: outbox.Parcel) -> str | None:
        """Where receivers fetch the picture; None where only this network reaches us."""
        incident, delivery = parcel.incident, parcel.delivery
        if self._settings.public_url is None or incident is None or not incident.secret:
            return None
        return self._settings.page_url + chart_path(incident, delivery.id, delivery.created_at)

    def _drawn(self, parcel: outbox.Parcel) -> bytes | None:
        if self._picture_of is None:
            return None
        try:
            with self._database.reading() as session:
                return self._picture_of(session, parcel)
        except Exception:  # a message without its picture is better than none
            log.exception(
                "the picture of %s could not be drawn; the message goes without", parcel.delivery.id
            )
            return None
