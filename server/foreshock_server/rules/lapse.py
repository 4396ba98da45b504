"""What an alert does when its series comes no more while the process that brought it goes on. Pure.

The first to know is the step that goes by without a reading (`detectors/absence.py`); what that means for the machine is said here. A
run that has ended is another matter: its alerts stand as they stood.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from foreshock_server.rules.detectors import Absence
from foreshock_server.rules.state import Advance, Kind, Machine, Policy, Reason, State


class NoData(BaseModel):
    """The parameters of one rule."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    then: Literal["keep", "resolve", "alert"] = Field(
        description="keep: it stays as it is, for what was wrong when last seen is still believed; resolve: it ends, pending or "
        "firing; alert: it fires, as what nobody can see is not known to be well"
    )
    steps: int = Field(
        1000,
        ge=1,
        le=10**9,
        description="when its process went on for more steps than this without a reading",
    )

    @property
    def listening(self) -> Absence | None:
        """What hears that nothing comes; None: nobody asks."""
        return None if self.then == "keep" else Absence(kind="absence", steps=self.steps, seconds=None)

    def note(self, silence: str) -> str:
        """What the sentence of the change says, of a silence such as `1,001 steps without a reading`."""
        return f"{silence}, so nobody can tell any more" if self.then == "resolve" else silence


def lapsed(before: Machine, then: Literal["resolve", "alert"], step: int, policy: Policy) -> Advance:
    """The alert when its series has fallen silent at this step."""
    now = before._replace(last_step=step, breached=None, critical=None, cleared=None)
    if then == "resolve":
        ended = now._replace(state=State.OK, since_step=None, fired_step=None)
        if before.state is State.FIRING:
            return Advance(ended._replace(quiet=0), Kind.RESOLVED, Reason.NO_DATA)
        return Advance(ended, None, Reason.NO_DATA)
    if before.state is State.FIRING:
        return Advance(now, None, Reason.NO_DATA)
    fired = now._replace(
        state=State.FIRING,
        severity=policy.severity,
        episode=before.episode + 1,
        since_step=step if before.since_step is None else before.since_step,
        fired_step=step,
        quiet=None,
    )
    return Advance(fired, Kind.FIRED, Reason.NO_DATA)
