"""What each step cost in; out, whether only what is essential may still be measured: the last resort, when all else has failed."""

from __future__ import annotations

from foreshock.guard import say_once

WINDOW = 200  # steps that it looks at together
TIMES = 3.0  # the budget, and …
PERCENT = 3.0  # … this much of the training's time: above both, it trips
REST = 1000  # steps until it lets go; twice as many each further time


class Breaker:
    """Trips when a window of steps cost far more than the budget although records were chosen to fit into it.

    It lets go after a rest, when a window without what it holds back cost less than half of what trips it. Work that no
    record stands for (closing steps, hooks that let calls pass) cannot be switched off, so it alone does not trip it; nor
    does a dear record whose price was known and saved up for.
    """

    def __init__(self) -> None:
        self.level = 1  # 0: tripped
        self._trips = 0
        self._steps = 0
        self._rests = 0  # steps since it tripped
        self._total = self._surprise = self._elapsed = 0.0

    def close(self, total: float, surprise: float, elapsed: float, budget: float) -> bool:
        """A step took ``elapsed`` seconds, ``total`` of them ours, and of what can be held back ``surprise`` beyond twice its price;
        True when that trips it."""
        self._steps += 1
        self._rests += 1
        self._total += total
        self._surprise += surprise
        self._elapsed += elapsed
        if self._steps < WINDOW:
            return False
        whole = max(self._elapsed, 1e-9) / 100
        taken, unforeseen = self._total / whole, self._surprise / whole
        self._steps, self._total, self._surprise, self._elapsed = 0, 0.0, 0.0, 0.0
        limit = max(TIMES * budget, PERCENT)
        if self.level == 0:
            if self._rests >= REST << min(self._trips - 1, 10) and taken < limit / 2:
                self.level = 1
            return False
        if taken <= limit or unforeseen <= budget:
            return False
        self.level, self._rests = 0, 0
        self._trips += 1
        say_once(
            "breaker",
            "measuring took %.1f %% of %d steps, its budget is %g %%: for now only logged numbers and policy entropy are recorded."
            " It goes on by itself; run.resume() lets it go on at once, FORESHOCK_BUDGET sets the budget",
            taken,
            WINDOW,
            budget,
        )
        return True

    def reset(self) -> None:
        """Let go at once, and forget earlier times."""
        self.__init__()  # type: ignore[misc]  # as new
