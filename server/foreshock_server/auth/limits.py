"""Settings -> how fast one key, or else one address, may ask: requests and bytes on the way in, requests on the way out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from foreshock_server.auth.buckets import Demand, LocalBuckets, SharedBuckets
from foreshock_server.deps import INGEST
from foreshock_server.errors import TooFast
from foreshock_server.settings import Settings

BURST = 10.0  # seconds' worth that may come at once
GUESSES = Demand("", 1.0, per_second=10.0, burst=100.0)  # requests of one address without a key that holds


class Limits:
    """Grants requests, or raises TooFast with the time to wait."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._shared = SharedBuckets(settings.redis_url) if settings.redis_url else None
        self._local = LocalBuckets()

    async def request(self, who: str, scope: str, size: int) -> None:
        """One request of this sender; `size` is that of its body in bytes."""
        settings, demands = self._settings, []
        if scope == INGEST:
            rate, bytes_rate = settings.ingest_requests_per_second, settings.ingest_bytes_per_second
            if bytes_rate:
                # at least one body of the largest size fits, or it could never come in
                burst = max(BURST * bytes_rate, settings.max_block_bytes)
                demands.append(Demand(f"bytes:{who}", min(size, burst), bytes_rate, burst))
        else:
            rate = settings.read_requests_per_second
        if rate:
            kind = "ingest" if scope == INGEST else "read"
            demands.append(Demand(f"{kind}:{who}", 1.0, rate, max(BURST * rate, 1.0)))
        await self._take(demands, "This key")

    async def guess(self, address: str) -> None:
        """A request without a key that holds, from this address."""
        await self._take([GUESSES._replace(bucket=f"guess:{address}")], "This address, without a valid key,")

    async def close(self) -> None:
        """Give connections back."""
        if self._shared is not None:
            await self._shared.close()

    async def _take(self, demands: Sequence[Demand], who: str) -> None:
        if not demands:
            return
        wait = self._local.take(demands) if self._shared is None else await self._shared.take(demands)
        if wait > 0:
            seconds = math.ceil(wait)
            raise TooFast(
                f"{who} sends more than this server takes from one; send again in {seconds} s.",
                retry_after=seconds,
            )
