"""What our work cost and how long the steps are in; who can be afforded in the next step out. All on the training thread.

Token buckets in seconds: each step pays in the budget's share of its own length, and what our work took is taken out. Cheap
statistics are recorded as often as the user wants, dear ones as often as their fair share of what is left pays for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

from .breaker import Breaker
from .purses import PACE, Paid, Purses
from .turns import Turn, Turns

DEVICE, HOST = 1.0, 3.0  # percent of the training's time, by default
PRICE = 0.3  # weight of a new record in the mean cost of a record
SURPRISE = 8.0  # times the mean cost: a dearer record counts as that one, or one bad moment would silence a place for hours
WARM = 1 / 3  # of the first record's cost is the price of the next: the first also compiles and allocates
SETTLING = 10  # first steps, of which the shortest counts: others compile and load
OUTLIER = 4.0  # times the mean length: a longer step (a checkpoint, a validation) pays in as that one
REVIEW = 25  # steps between looks at all prices
IDLE = 4  # periods without a record, after which nothing is put aside for a turn
SMOOTH = 200  # steps over which the used part of the budget is averaged


class Governor:
    """Keeps what we take of the training's time within a share of it; see `Turns` for whose turn it is.

    ``budget`` in percent; None for the default of the device, known by ``is_on``. ``background`` tells the CPU seconds
    that our threads and processes have taken beside the training thread; they count where the training is on the CPU
    and ``competes`` for it.
    """

    def __init__(
        self,
        budget: float | None = None,
        *,
        background: Callable[[], float] = lambda: 0.0,
        competes: Callable[[], bool] = lambda: True,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.budget = HOST if budget is None else budget
        self.breaker = Breaker()
        self.pace = 0.0  # seconds of a step without ours
        self.purses = Purses()
        self._given = budget is not None
        self.on_device = False
        self._background, self._competes, self._now = background, competes, now
        self._turns: Turns | None = None
        self._at: float | None = None  # when the last step was closed
        self._own = self._billed = self._beside = 0.0  # when it was
        self._before = Paid()  # before there was anything to pay it from
        self._steps = 0
        self._dearest = 0.0  # cost of a record
        self._shares = (math.inf, math.inf)  # of a step, at most, for an essential turn and for another
        self._smooth = [0.0, 0.0]  # our seconds and all seconds, fading

    @property
    def level(self) -> int:
        """1: all is measured that can be afforded. 0: what is essential."""
        return self.breaker.level

    @property
    def income(self) -> float:
        """Seconds that a step brings."""
        return self.budget / 100 * self.pace

    @property
    def used(self) -> float:
        """Percent of the budget that went, in the mean of the last steps."""
        ours, whole = self._smooth
        return 1e4 * ours / whole / self.budget if whole > 0 else 0.0

    def is_on(self, device_type: str) -> None:
        """Something is measured on such a device: without a budget of the user's, the one for it counts."""
        self.on_device |= device_type == "cuda"
        if self.on_device and not self._given:
            self.budget = DEVICE

    def governs(self, turns: Turns) -> None:
        """These are the turns to pay for."""
        self._turns = turns

    def close(
        self,
        recorded: Iterable[Turn],
        own: float,
        billed: float,
        late: Iterable[tuple[Turn | None, float]] = (),
    ) -> None:
        """A step ends in which these turns recorded; since the start we took ``own`` seconds of the host, ``billed`` of them
        for turns. ``late``: what the device has told meanwhile of earlier work, seconds beyond those."""
        now, beside = self._now(), self._background()
        paid = self._price(recorded)
        mine, for_turns = own - self._own, billed - self._billed
        others = max(0.0, mine - for_turns)
        if beside > self._beside and not self.on_device and self._competes():
            others += beside - self._beside
        paid.optional += for_turns - paid.total  # prepared, and not recorded yet
        self._reprice(late, paid)
        began, self._at = self._at, now
        self._own, self._billed, self._beside = own, billed, beside
        if began is None:  # how long the first step was, nobody knows: it is charged with the second
            self._before = paid
            return
        paid.first += self._before.total
        self._before = Paid()
        elapsed = now - began
        self._keep_pace(max(0.0, elapsed - mine))
        self.purses.settle(self.income, others, paid, self._dearest)
        total = paid.total + others
        for index, seconds in enumerate((total, elapsed)):
            self._smooth[index] += (seconds - self._smooth[index]) / min(self._steps, SMOOTH)
        tripped = self.breaker.close(total - paid.first, paid.surprise, elapsed, self.budget)
        if tripped and self._turns is not None:
            self._turns.hold_back()
        if self._steps % REVIEW == 1:
            self._review()

    def choose(self, due: list[Turn], step: int) -> int:
        """Essential ones first, then those that are most overdue; it ends at the first that cannot be paid for."""
        due.sort(key=lambda turn: (not turn.essential, (turn.last - step) / max(turn.period, 1)))
        left = self.purses.others
        chosen = len(due)
        for position, turn in enumerate(due):
            if turn.essential:
                continue
            if left < turn.cost or self.level < 1:
                chosen = position
                break
            left -= turn.cost
        if self.purses.essential < 0:  # they wait, too, and the others go first
            waiting = [turn for turn in due[:chosen] if turn.essential]
            due[:] = [turn for turn in due[:chosen] if not turn.essential] + waiting + due[chosen:]
            chosen -= len(waiting)
        return chosen

    def period(self, turn: Turn) -> int:
        """As the user wants it, or as the turn's share of the income pays for it; longer than a float counts is never."""
        share = self._shares[0 if turn.essential else 1]
        if turn.cost <= share * turn.minimum:
            return turn.minimum
        return int(min(turn.cost / share, 1e9)) + 1 if share > 0 else 10**9

    # -- accounts ---------------------------------------------------------------------------------------------------

    def _price(self, recorded: Iterable[Turn]) -> Paid:
        """Take in what these records cost."""
        paid = Paid()
        for turn in recorded:
            seconds, turn.spent = turn.spent, 0.0
            if turn.records < 2:  # dearer than is known
                paid.first += seconds
            elif turn.essential:
                paid.essential += seconds
            else:
                paid.optional += seconds
                paid.surprise += max(0.0, seconds - 2 * turn.cost)
            known = turn.cost - turn.late
            if turn.records < 1:
                seconds *= WARM
            elif turn.records < 2:
                seconds = min(seconds, known / WARM)
            else:
                seconds = known + PRICE * (min(seconds, SURPRISE * known) - known)
            turn.cost = turn.late + seconds
        return paid

    def _reprice(self, late: Iterable[tuple[Turn | None, float]], paid: Paid) -> None:
        for turn, seconds in late:
            if turn is None or turn.records < 3:
                paid.first += seconds
            elif turn.essential:
                paid.essential += seconds
            else:
                paid.optional += seconds
                paid.surprise += max(0.0, seconds - 2 * turn.cost)
            if turn is not None:
                change = (PRICE if turn.records > 2 else 1.0) * (seconds - turn.late)
                turn.late += change
                turn.cost += change

    def _keep_pace(self, seconds: float) -> None:
        self._steps += 1
        if self._steps == 1:
            self.pace = seconds
            self.purses.begin(self.income)
        elif self._steps <= SETTLING:
            self.pace = min(self.pace, seconds)
        else:
            self.pace += PACE * (min(seconds, OUTLIER * self.pace) - self.pace)

    def _review(self) -> None:
        """Share the income out: who needs less than an equal part gets what is wanted, the others the rest in equal parts."""
        if self._turns is None:
            return
        step = self._turns.step
        live = [
            turn
            for turn in self._turns
            if turn.records and not (turn.open and step - turn.last > IDLE * turn.period + REVIEW)
        ]
        self._dearest = max((turn.cost for turn in live), default=0.0)
        essential = [turn.cost / turn.minimum for turn in live if turn.essential]
        others = [turn.cost / turn.minimum for turn in live if not turn.essential]
        self._shares = self.purses.shares(self.income, essential, others)
