"""The income of each step and what was spent in it, in seconds, in; what may be spent on records in the next one out."""

from __future__ import annotations

import math
from dataclasses import dataclass

SAVED = 50  # steps whose income a purse holds at least, and the most that is owed for work that no record stands for
FIRST = 10  # steps whose income, at most, a step's first records take: they come once, and the second ones are waited for
RESERVE = 5  # steps whose income the purse of what is essential holds: beyond that the others get it
OVERHEAD = 0.75  # of the income, at most, goes to work that no record stands for; the rest is for records
ESSENTIAL = 0.75  # of what is left, at most, goes to what is essential while others wait
DEAREST = 1.25  # times the dearest record: what the purse of the others holds, so that it can be saved up for
PACE = 0.05  # weight of a new step in the mean of what goes to work that no record stands for


@dataclass
class Paid:
    """Seconds of a step for records: for first ones, which also compile and allocate, for essential and for other ones."""

    first: float = 0.0
    essential: float = 0.0
    optional: float = 0.0
    surprise: float = 0.0  # of the optional ones, what they cost beyond twice their price

    @property
    def total(self) -> float:
        """All of them."""
        return self.first + self.essential + self.optional


class Purses:
    """Two token buckets, one for what is essential and one for all else: neither takes what the other lives on.

    Work that no record stands for (closing steps, hooks that let calls pass, our other threads) cannot be put off. It is
    paid first, in instalments, and never takes everything: where it alone exceeds the budget, records go on, if rarely.
    """

    def __init__(self) -> None:
        self.essential = 0.0
        self.others = 0.0
        self.overhead = 0.0  # of a step, in the mean: what no record stands for
        self._owed = 0.0

    def begin(self, income: float) -> None:
        """What is essential need not wait for the first income."""
        self.essential = RESERVE * income

    def settle(self, income: float, overhead: float, paid: Paid, dearest: float) -> None:
        """A step has brought this income, and has cost this for no record and that for records."""
        self._owed = min(self._owed + overhead, SAVED * income)
        instalment = min(self._owed, OVERHEAD * income)
        self._owed -= instalment
        self.overhead += PACE * (instalment - self.overhead)
        left = income - instalment
        limit = max(SAVED * income, DEAREST * dearest)
        essential = self.essential + ESSENTIAL * left - paid.essential
        beyond = max(0.0, essential - RESERVE * income)
        self.essential = max(-limit, essential - beyond)
        others = (
            self.others + (1 - ESSENTIAL) * left + beyond - paid.optional - min(paid.first, FIRST * income)
        )
        self.others = max(-limit, min(others, limit))

    def shares(self, income: float, essential: list[float], others: list[float]) -> tuple[float, float]:
        """What one turn may get of each step's income, at most: an essential one, another one. Rates wanted, in seconds a step."""
        left = max(income - self.overhead, (1 - OVERHEAD) * income)
        first = fair_share(essential, left * (ESSENTIAL if others else 1.0))
        return first, fair_share(others, left - sum(min(rate, first) for rate in essential))


def fair_share(rates: list[float], income: float) -> float:
    """The most that one may get so that all together get no more than the income; infinite when there is enough for all."""
    left, waiting = income, len(rates)
    for rate in sorted(rates):
        if rate * waiting > left:
            return left / waiting
        left -= rate
        waiting -= 1
    return math.inf
