"""What other rules of the run say -> how many parts of a joint rule hold, or how far its sequence has come. Pure.

A part holds from when one of its rules fires until `within_steps` after the last of its alerts has resolved. All is counted in steps
of the run, so a paused job does not age.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from pydantic import Field, model_validator

from foreshock_server.rules.matching import Strict, Text
from foreshock_server.rules.state import Kind


class Part(Strict):
    """Rules of which one is enough; `*` and `?` stand for anything."""

    rule: Text = Field("*", description="id of the rule")
    family: Text = Field("*", description="family that the rule is listed under")

    @model_validator(mode="after")
    def _says_which(self) -> Part:
        if not self.model_fields_set:
            raise ValueError("say which rules: `{rule: ID}` or `{family: NAME}`")
        return self

    def fits(self, rule_id: str, family: str) -> bool:
        """True when the rule is one of them."""
        return fnmatchcase(rule_id, self.rule) and fnmatchcase(family, self.family)


class Joint(Strict):
    """Which parts, and how they go together: one of `all`, `any` and `sequence`."""

    all: list[Part] = Field(default_factory=list, max_length=32, description="breach while all of these hold")
    any: list[Part] = Field(
        default_factory=list,
        max_length=32,
        description="breach while one of these holds; how many do is the number that the detector compares",
    )
    sequence: list[Part] = Field(
        default_factory=list,
        max_length=32,
        description="breach while all of these hold, each of which fired no earlier than the one before it",
    )
    within_steps: int = Field(
        0, ge=0, le=10**9, description="a part still holds for so many steps after its alerts have resolved"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Joint:
        if sum(map(bool, (self.all, self.any, self.sequence))) != 1:
            raise ValueError("write exactly one of `all: [...]`, `any: [...]` and `sequence: [...]`")
        return self

    @property
    def way(self) -> str:
        """How the parts go together."""
        return "all" if self.all else "any" if self.any else "sequence"

    @property
    def parts(self) -> list[Part]:
        """As written."""
        return self.all or self.any or self.sequence


class Held(NamedTuple):
    """A rule that counts. Times are steps that the run went forward, over all its attempts."""

    step: int  # at which it fired when it began to count
    first: int  # the same as a time
    last: int  # when it fired last
    ended: int | None  # when the last of its alerts resolved; None: some fire
    firing: tuple[int, ...]  # series


class JointMemory(NamedTuple):
    """What is remembered between row groups."""

    attempt: int | None = None
    clock: int | None = None  # the furthest step of the attempt
    now: int = 0  # the time
    held: Mapping[str, Held] = {}  # by rule


def reached(memory: JointMemory, attempt: int, step: int) -> JointMemory:
    """The memory when the run has come to this step. A resume takes the step back, and the time goes on from where it stands."""
    forward = 0
    if memory.attempt == attempt and memory.clock is not None:
        forward = max(0, step - memory.clock)
    return memory._replace(attempt=attempt, clock=step, now=memory.now + forward)


def heard(memory: JointMemory, rule: str, series_id: int, kind: Kind, step: int) -> JointMemory:
    """The memory after one transition, now, of a rule that is part of it."""
    before = memory.held.get(rule)
    if kind is Kind.RESOLVED:
        if before is None or series_id not in before.firing:
            return memory
        left = tuple(one for one in before.firing if one != series_id)
        after = before._replace(firing=left, ended=before.ended if left else memory.now)
    elif before is None:
        after = Held(step, memory.now, memory.now, None, (series_id,))
    else:
        last = before.last if before.firing else memory.now
        after = before._replace(last=last, ended=None, firing=tuple(sorted({*before.firing, series_id})))
    return memory._replace(held={**memory.held, rule: after})


def counting(memory: JointMemory, within_steps: int) -> JointMemory:
    """The memory without what no longer counts."""
    held = {
        rule: one
        for rule, one in memory.held.items()
        if one.ended is None or memory.now - one.ended < within_steps
    }
    return memory if len(held) == len(memory.held) else memory._replace(held=held)


def still(memory: JointMemory, firing: Collection[str]) -> JointMemory:
    """The memory when of the rules that fired only these do: others may have gone out of force unheard."""
    held = {rule: one for rule, one in memory.held.items() if one.ended is not None or rule in firing}
    return memory if len(held) == len(memory.held) else memory._replace(held=held)


def score(joint: Joint, parts: Sequence[Collection[str]], memory: JointMemory) -> int:
    """How many parts hold; of a sequence, how many from the first on, in order. `parts`: the ids of the rules of each."""
    holding = [[one for rule, one in memory.held.items() if rule in part] for part in parts]
    if not joint.sequence:
        return sum(map(bool, holding))
    since = None
    for come, some in enumerate(holding):
        held = [one for one in some if since is None or one.last >= since]
        if not held:
            return come
        since = min(one.first if since is None else max(one.first, since) for one in held)
    return len(holding)


def told(
    joint: Joint, parts: Sequence[Collection[str]], memory: JointMemory, titles: Mapping[str, str]
) -> str:
    """Which rules count, in the order in which they fired, and since when."""
    wanted = {rule for part in parts for rule in part}
    counted = sorted((one.first, one.step, rule) for rule, one in memory.held.items() if rule in wanted)
    named = [f"{titles.get(rule, rule)} at step {step:,}" for _, step, rule in counted[:_TOLD]]
    further = len(counted) - len(named)
    return (", then " if joint.sequence else ", ").join(named) + (f" and {further} more" if further else "")


def dump(memory: JointMemory) -> dict[str, Any]:
    """As JSON."""
    return {
        "attempt": memory.attempt,
        "clock": memory.clock,
        "now": memory.now,
        "held": {
            rule: [one.step, one.first, one.last, one.ended, list(one.firing)]
            for rule, one in memory.held.items()
        },
    }


def load(stored: Mapping[str, Any]) -> JointMemory:
    """From JSON."""
    if stored.keys() != dump(JointMemory()).keys():
        return JointMemory()
    return JointMemory(
        stored["attempt"],
        stored["clock"],
        stored["now"],
        {
            rule: Held(step, first, last, ended, tuple(firing))
            for rule, (step, first, last, ended, firing) in stored["held"].items()
        },
    )


_TOLD = 4  # rules that a sentence names
