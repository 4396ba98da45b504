"""Several ports -> one: each connection goes to the next replica that takes it, bytes pass as they come.

A balancer rather than SO_REUSEPORT: it is what stands in front of replicas in production (docker-compose.yml has Caddy), the
server needs no switch for it, and a connection that waited at a replica when it was killed is offered to the next one.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Sequence

_PIECE = 64 * 2**10


class Balancer:
    """Listens on a port of its own, on a thread of its own, until it is closed."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.taken = dict.fromkeys(ports, 0)  # port -> connections that it got
        self._turns = itertools.cycle(range(len(ports)))
        self._ports = list(ports)
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1000)
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._loop.run_forever, name="balancer", daemon=True)
        self._thread.start()

    async def _serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            far, forth = await self._connect()
        except OSError:
            back.close()  # nobody is there, which the client meets as it would meet it without us
            return
        try:
            await asyncio.gather(_pass(near, forth), _pass(far, back))
        except asyncio.CancelledError:
            pass  # closing

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        first = next(self._turns)
        refusal = OSError("no replica")
        for port in self._ports[first:] + self._ports[:first]:
            try:
                both = await asyncio.open_connection("127.0.0.1", port)
            except OSError as error:
                refusal = error
            else:
                self.taken[port] += 1
                return both
        raise refusal

    def close(self) -> None:
        """Listen no more, and cut what is open."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        mine = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not mine]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Each piece at once, so that a live stream stays live; the end of one side ends the other's."""
    try:
        while piece := await source.read(_PIECE):
            target.write(piece)
            await target.drain()
    except OSError:
        pass  # a killed replica or a client that left
    finally:
        target.close()
