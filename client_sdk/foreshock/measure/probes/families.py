"""The families of statistics that a user names in; which lines of a plan are taken, and how often each is read, out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from foreshock.config import ASKED, unknown_families

from .subject import Planned


@dataclass(frozen=True)
class Wishes:
    """What the user wants of the catalogue."""

    named: frozenset[str] = frozenset()  # empty: whatever is on by default
    without: frozenset[str] = frozenset()
    everything: bool = False

    @classmethod
    def of(cls, families: Sequence[str] | None, without: Sequence[str] = ()) -> Wishes:
        """Names of families, ``-`` before those to leave out, or ``all``."""
        if isinstance(families, str) or isinstance(without, str):
            raise ValueError(
                f"families={families!r}, without={without!r}: write lists, such as families=['attention']"
            )
        names = (*(families or ()), *(f"-{name.removeprefix('-')}" for name in without))
        for complaint in unknown_families(names):
            raise ValueError(complaint)
        return cls(
            named=frozenset(name for name in names if name != "all" and not name.startswith("-")),
            without=frozenset(name[1:] for name in names if name.startswith("-")),
            everything="all" in names,
        )

    def want(self, family: str) -> bool:
        """True when lines of this family may be taken."""
        named = self.everything or not self.named or family in self.named
        return named and family not in self.without


@dataclass(frozen=True)
class Choice:
    """What of a plan is taken."""

    lines: tuple[Planned, ...]
    switched_on: Mapping[str, int]  # kinds that are off by default, and how often they are read now
    off: tuple[Planned, ...]  # lines that nobody has asked for
    absent: tuple[str, ...]  # families that were named and are not in the model


def choose(
    plan: Sequence[Planned], wishes: Wishes, every: Mapping[str, int], fixed: Collection[str]
) -> Choice:
    """Take the lines that are on, and those that are off by default (``every`` 0) where their family is asked for.

    ``fixed`` are the kinds whose cadence the user has set: 0 is never for them. A family is switched on by its name when
    all of its lines are off; ``all`` switches on whatever there is.
    """
    wanted = [line for line in plan if wishes.want(line.family)]
    on = {line.family for line in wanted if every[line.kind] > 0}
    switched_on = {
        line.kind: ASKED
        for line in wanted
        if every[line.kind] == 0
        and line.kind not in fixed
        and (wishes.everything or (line.family in wishes.named and line.family not in on))
    }
    taken = tuple(line for line in wanted if every[line.kind] > 0 or line.kind in switched_on)
    there = {line.family for line in plan}
    return Choice(
        lines=taken,
        switched_on=switched_on,
        off=tuple(line for line in wanted if every[line.kind] == 0 and line.kind not in switched_on),
        absent=tuple(sorted(wishes.named - wishes.without - there)),
    )
