"""What people ask for -> the rules of a pack; and how much work a question may be."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from foreshock_server.errors import Invalid
from foreshock_server.rules.load import RuleSet, parse_pack, with_builtin_parts


def rules_of(text: str, name: str, *, aliases: bool = False) -> RuleSet:
    """The rules of this pack alone, and the built-in ones that its joint rules are about; BadRules says what is wrong in it."""
    pack = parse_pack(text, name, aliases=aliases)
    return with_builtin_parts(RuleSet(tuple(pack.rules), {rule.id: name for rule in pack.rules}))


def only(rules: RuleSet, wanted: Sequence[str]) -> RuleSet:
    """The rules with these ids and those that joint ones are about, all where none is named; Invalid for one that is not there."""
    if not wanted:
        return rules
    for one in wanted:
        if rules.get(one) is None:
            raise Invalid(f"There is no rule {one!r} among these rules.", field="rules")
    return rules.with_parts(wanted)


class Bounds:
    """How much may be read, rule by rule, and for how long. What is not bounded is a person's own machine."""

    def __init__(
        self,
        most_readings: float = float("inf"),
        most_seconds: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._left, self._most = most_readings, most_readings
        self._seconds, self._clock = most_seconds, clock
        self._end = clock() + most_seconds

    def spend(self, readings: float) -> None:
        """Before so many are read; Invalid when that is too much."""
        self._left -= readings
        if self._left < 0:
            raise Invalid(
                f"That is more than {self._most:,.0f} readings, counted once per rule that looks at them; ask for fewer runs "
                "or rules at a time, or use `foreshock rules backtest` beside the database.",
                field="runs",
            )

    def check(self) -> None:
        """Now and then; Invalid when it has taken too long."""
        if self._clock() > self._end:
            raise Invalid(
                f"That takes longer than {self._seconds:.0f} seconds; ask for fewer runs or rules at a time, or use "
                "`foreshock rules backtest` beside the database.",
                field="runs",
            )
