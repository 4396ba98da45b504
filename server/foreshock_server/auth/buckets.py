"""Demands on token buckets -> granted at once, or after how many seconds; in this process, or shared by all through Redis.

A bucket fills by `per_second` up to `burst`. Several demands of one request are granted together or not at all.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

MOST_BUCKETS = 10_000  # in this process; the least recently used go first
PATIENCE = 0.25  # seconds that Redis may take
REST = 5.0  # seconds without asking Redis after it did not answer
AHEAD = 0.05  # seconds' worth taken from Redis with what is needed, so that a busy key asks it some twenty times a second
KEPT = 1.0  # seconds after which what was taken ahead is given up


class Demand(NamedTuple):
    """So many tokens from this bucket."""

    bucket: str
    tokens: float
    per_second: float
    burst: float


class LocalBuckets:
    """Within one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # bucket -> level, and when

    def take(self, demands: Sequence[Demand]) -> float:
        """0.0: granted; else the seconds until it can be."""
        now = self._clock()
        levels = [self._level(demand, now) for demand in demands]
        wait = max(
            (demand.tokens - level) / demand.per_second for demand, level in zip(demands, levels, strict=True)
        )
        if wait > 0:
            return wait
        for demand, level in zip(demands, levels, strict=True):
            self._levels[demand.bucket] = (level - demand.tokens, now)
            self._levels.move_to_end(demand.bucket)
        while len(self._levels) > MOST_BUCKETS:
            self._levels.popitem(last=False)
        return 0.0

    def _level(self, demand: Demand, now: float) -> float:
        level, at = self._levels.get(demand.bucket, (demand.burst, now))
        return min(demand.burst, level + (now - at) * demand.per_second)


# Per bucket: tokens needed, tokens wished for beyond, per second, burst. Returns the wait in microseconds, then what was
# granted beyond in thousandths of a token. Redis' own clock, so that the clocks of several machines need not agree.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local levels, wait = {}, 0
for i, key in ipairs(KEYS) do
  local need, rate, burst = tonumber(ARGV[4*i-3]), tonumber(ARGV[4*i-1]), tonumber(ARGV[4*i])
  local kept = redis.call('HMGET', key, 'level', 'at')
  local level = tonumber(kept[1]) or burst
  level = math.min(burst, level + math.max(0, now - (tonumber(kept[2]) or now)) * rate)
  levels[i] = level
  wait = math.max(wait, (need - level) / rate)
end
if wait > 0 then return {math.ceil(wait * 1000000)} end
local answer = {0}
for i, key in ipairs(KEYS) do
  local need, wish = tonumber(ARGV[4*i-3]), tonumber(ARGV[4*i-2])
  local rate, burst = tonumber(ARGV[4*i-1]), tonumber(ARGV[4*i])
  local beyond = math.min(wish, levels[i] - need)
  redis.call('HSET', key, 'level', string.format('%.6f', levels[i] - need - beyond), 'at', string.format('%.6f', now))
  redis.call('PEXPIRE', key, math.ceil(1000 * burst / rate) + 1000)
  answer[i + 1] = math.floor(beyond * 1000)
end
return answer
"""


class SharedBuckets:
    """Between processes through Redis, in one exchange per request at most; in this process while Redis does not answer."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        from redis import asyncio as redis  # only where it is used: the `scale` extra brings it

        self._redis = redis.Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
        self._script: Any = self._redis.register_script(_SCRIPT)
        self._local = LocalBuckets(clock)
        self._clock = clock
        self._ahead: OrderedDict[str, tuple[float, float]] = OrderedDict()  # bucket -> tokens, and until when
        self._resting_until = float("-inf")

    async def take(self, demands: Sequence[Demand]) -> float:
        """0.0: granted; else the seconds until it can be."""
        now = self._clock()
        ahead = [self._left(demand.bucket, now) for demand in demands]
        if all(left >= demand.tokens for demand, left in zip(demands, ahead, strict=True)):
            for demand in demands:
                left, until = self._ahead[demand.bucket]
                self._ahead[demand.bucket] = (left - demand.tokens, until)
            return 0.0
        if now < self._resting_until:
            return self._local.take(demands)
        try:
            answer = await self._ask(demands, ahead)
        except Exception as error:  # noqa: BLE001 (a limit must never end a request)
            log.warning("Redis does not answer, limits are kept by this process alone: %s", error)
            self._resting_until = self._clock() + REST
            return self._local.take(demands)
        if answer[0] > 0:
            return float(answer[0] / 1e6)
        for demand, left, beyond in zip(demands, ahead, answer[1:], strict=True):
            now_left = self._left(demand.bucket, now)  # another request may have taken some meanwhile
            used = min(left, demand.tokens)
            self._ahead.pop(demand.bucket, None)
            self._ahead[demand.bucket] = (max(0.0, now_left - used) + beyond / 1000, now + KEPT)
        while len(self._ahead) > MOST_BUCKETS:
            self._ahead.popitem(last=False)
        return 0.0

    async def close(self) -> None:
        """Give connections back."""
        try:
            await self._redis.aclose()
        except Exception as error:  # noqa: BLE001 (it is over either way)
            log.debug("Redis could not be closed: %s", error)

    def _left(self, bucket: str, now: float) -> float:
        left, until = self._ahead.get(bucket, (0.0, 0.0))
        return left if now < until else 0.0

    async def _ask(self, demands: Sequence[Demand], ahead: Sequence[float]) -> list[int]:
        numbers = [
            (max(0.0, one.tokens - left), one.per_second * AHEAD, one.per_second, one.burst)
            for one, left in zip(demands, ahead, strict=True)
        ]
        answer: list[int] = await self._script(
            keys=[f"foreshock:limit:{one.bucket}" for one in demands],
            args=[number for four in numbers for number in four],
        )
        return answer
