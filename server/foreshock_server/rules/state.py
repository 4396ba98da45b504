"""One verdict more -> the alert's next state, what changed and why. Pure: the step is an argument, nothing here reads a clock.

Everything is counted in steps forward: a paused job does not age, a step that comes twice adds nothing, and a resume from a
checkpoint (the step goes back) goes on counting from where it stands. A gap in the readings counts with its steps when both of its
ends say the same, because training did go on through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple


class State(str, Enum):
    """Where an alert stands."""

    OK = "ok"
    PENDING = "pending"
    FIRING = "firing"


class Severity(str, Enum):
    """How bad an episode is."""

    WARNING = "warning"
    CRITICAL = "critical"


class Kind(str, Enum):
    """A change that is worth a row of its own."""

    FIRED = "fired"
    ESCALATED = "escalated"
    RESOLVED = "resolved"


class Reason(str, Enum):
    """Why the machine stands where it stands after this reading."""

    WARMING_UP = "the run is still in its warm-up"
    NO_VERDICT = "the detector cannot tell yet"
    TOO_FEW_SAMPLES = "too few readings so far"
    GOOD = "the reading is good"
    BREACH_BEGAN = "the breach began with this reading"
    BREACH_LASTS = "the breach has not lasted for_steps yet"
    COOLING_DOWN = "the last episode ended less than cooldown_steps ago"
    BREACH_ENDED = "the breach ended before it had lasted for_steps"
    BREACH_HELD = "the breach has lasted for_steps"
    STILL_BREACHED = "firing, and the breach goes on"
    GREW_CRITICAL = "firing, and the critical level has been held for for_steps"
    NOT_CLEAR = "firing: no breach, but not beyond the clear level either"
    CLEARING = "firing: clear, but not for keep_firing_steps yet"
    CLEARED = "clear for keep_firing_steps"
    NO_DATA = "no reading for so many steps that nobody can tell any more"


class Policy(NamedTuple):
    """How long a rule waits; all in steps but `min_samples`."""

    severity: Severity = Severity.WARNING  # of a breach that is not critical
    for_steps: int = 0  # a breach must last this long to fire, the critical level to escalate
    min_samples: int = 1  # verdicts that must exist before anything can begin
    warmup_steps: int = 0  # steps of the run, from 0, that are not judged
    keep_firing_steps: int = 0  # clear must last this long before it resolves
    cooldown_steps: int = 0  # after an episode, a breach that is not critical waits this long


class Machine(NamedTuple):
    """What the machine remembers of one rule on one series."""

    state: State = State.OK
    severity: Severity = Severity.WARNING  # of the episode in course
    episode: int = 0  # counts firings
    since_step: int | None = None  # first breach of the episode
    fired_step: int | None = None
    last_step: int | None = None  # of the last verdict
    samples: int = 0
    breached: int | None = None  # steps the breach has lasted; None: no breach at the last verdict
    critical: int | None = None  # the same for the critical level
    cleared: int | None = None  # the same for clear
    quiet: int | None = None  # steps since the last episode ended; None: there was none


class Advance(NamedTuple):
    """The next machine, the change if there was one, and the reason."""

    machine: Machine
    kind: Kind | None
    reason: Reason


def advance(
    before: Machine, breach: bool | None, critical: bool, clear: bool, step: int, policy: Policy
) -> Advance:
    """The alert after one more verdict of its detector.

    `breach=None` says nothing: everything stays as it was, whatever it was. A reading that is neither a breach nor clear lies
    between the two levels: it ends a pending breach, and keeps a firing one.
    """
    if step < policy.warmup_steps:
        return Advance(before, None, Reason.WARMING_UP)
    if breach is None:
        return Advance(before, None, Reason.NO_VERDICT)
    forward = 0 if before.last_step is None else max(0, step - before.last_step)
    now = Machine(
        before.state,
        before.severity,
        before.episode,
        before.since_step,
        before.fired_step,
        step,
        before.samples + 1,
        _lasted(before.breached, breach, forward),
        _lasted(before.critical, breach and critical, forward),
        _lasted(before.cleared, clear and not breach, forward),
        None if before.quiet is None else before.quiet + forward,
    )
    return _while_firing(now, policy) if now.state is State.FIRING else _until_firing(now, policy)


def pass_over(before: Machine, clear: Sequence[bool], steps: Sequence[int]) -> Machine:
    """The ok machine after readings at these steps, none of which is a breach: what `advance` would have made of each in turn."""
    last, cleared, quiet = before.last_step, before.cleared, before.quiet
    for good, step in zip(clear, steps, strict=True):
        forward = 0 if last is None else max(0, step - last)
        cleared = _lasted(cleared, good, forward)
        quiet = None if quiet is None else quiet + forward
        last = step
    return before._replace(
        last_step=last,
        samples=before.samples + len(steps),
        breached=None,
        critical=None,
        cleared=cleared,
        quiet=quiet,
    )


def _lasted(before: int | None, holds: bool, forward: int) -> int | None:
    if not holds:
        return None
    return 0 if before is None else before + forward


def _until_firing(now: Machine, policy: Policy) -> Advance:
    if now.breached is None:
        if now.state is State.OK:
            return Advance(now, None, Reason.GOOD)
        return Advance(now._replace(state=State.OK, since_step=None), None, Reason.BREACH_ENDED)
    if now.samples < policy.min_samples:
        return Advance(now._replace(breached=None, critical=None), None, Reason.TOO_FEW_SAMPLES)
    began = now.state is State.OK
    pending = now._replace(state=State.PENDING, since_step=now.last_step if began else now.since_step)
    if now.breached < policy.for_steps:
        return Advance(pending, None, Reason.BREACH_BEGAN if began else Reason.BREACH_LASTS)
    is_critical = now.critical is not None and now.critical >= policy.for_steps
    if now.quiet is not None and now.quiet < policy.cooldown_steps and not is_critical:
        return Advance(pending, None, Reason.COOLING_DOWN)
    fired = pending._replace(
        state=State.FIRING,
        severity=Severity.CRITICAL if is_critical else policy.severity,
        episode=now.episode + 1,
        fired_step=now.last_step,
        quiet=None,
    )
    return Advance(fired, Kind.FIRED, Reason.BREACH_HELD)


def _while_firing(now: Machine, policy: Policy) -> Advance:
    if now.cleared is not None:
        if now.cleared < policy.keep_firing_steps:
            return Advance(now, None, Reason.CLEARING)
        ended = now._replace(state=State.OK, since_step=None, fired_step=None, cleared=None, quiet=0)
        return Advance(ended, Kind.RESOLVED, Reason.CLEARED)
    if now.breached is None:
        return Advance(now, None, Reason.NOT_CLEAR)
    if now.severity is Severity.WARNING and now.critical is not None and now.critical >= policy.for_steps:
        return Advance(now._replace(severity=Severity.CRITICAL), Kind.ESCALATED, Reason.GREW_CRITICAL)
    return Advance(now, None, Reason.STILL_BREACHED)
