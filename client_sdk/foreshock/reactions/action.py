"""What can be done about an alert: notify, call back, checkpoint, stop, set a value. Each says whether it changes the training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from foreshock.control import Alert, StopTraining
from foreshock.guard import log


class Action(Protocol):
    """One thing that may be done, on the training thread."""

    @property
    def name(self) -> str:
        """What it is called where it is written down."""
        ...

    @property
    def changes(self) -> bool:
        """True when it changes the training: then it is a dry run unless told otherwise."""
        ...

    @property
    def together(self) -> bool:
        """True when all ranks must do it at the same step: then the first rank decides, and `run.agree()` applies it."""
        ...

    def decide(self, alert: Alert) -> float | None:
        """A number that every rank's `apply` is given, chosen by the rank that decides; None: there is nothing to do."""
        ...

    def apply(self, alert: Alert, value: float) -> None:
        """Do it. What it raises is said and counted, but for StopTraining, which ends the training."""
        ...


class Notify:
    """Say it in the training's own log."""

    name: ClassVar[str] = "notify"
    changes: ClassVar[bool] = False
    together: ClassVar[bool] = False

    def decide(self, alert: Alert) -> float | None:
        return 1.0

    def apply(self, alert: Alert, value: float) -> None:
        log.warning("foreshock: %s (%s, %s): %s", alert.rule, alert.severity, alert.state, alert.message)


class Call:
    """Give the alert to a function of the user's."""

    changes: ClassVar[bool] = False  # whatever it does, its author wrote it

    def __init__(self, function: Callable[[Alert], object], name: str, *, together: bool) -> None:
        self.function = function
        self.name = name
        self.together = together

    def decide(self, alert: Alert) -> float | None:
        return 1.0

    def apply(self, alert: Alert, value: float) -> None:
        self.function(alert)


class Stop:
    """End the training: StopTraining leaves `step()`, or `agree()` on every rank."""

    name: ClassVar[str] = "stop"
    changes: ClassVar[bool] = True
    together: ClassVar[bool] = True

    def decide(self, alert: Alert) -> float | None:
        return 1.0

    def apply(self, alert: Alert, value: float) -> None:
        raise StopTraining(alert.message or alert.rule)


class Set:
    """Hand a number to the user's setter: one that is given, or one that a function of the alert proposes."""

    changes: ClassVar[bool] = True
    together: ClassVar[bool] = True

    def __init__(
        self,
        setter: Callable[[float], object],
        value: float | Callable[[Alert], float | None],
        name: str,
    ) -> None:
        self.setter = setter
        self.value = value
        self.name = name

    def decide(self, alert: Alert) -> float | None:
        proposed: Any = self.value(alert) if callable(self.value) else self.value
        if proposed is None:
            return None
        number = float(proposed)
        if not math.isfinite(number):
            raise ValueError(f"{self.name} was to be {number}; only a finite number is handed on")
        return number

    def apply(self, alert: Alert, value: float) -> None:
        self.setter(value)


KINDS = ("callback", "notify", "checkpoint", "stop", "set")


def of_function(
    kind: str, function: Callable[..., object], value: float | Callable[[Alert], float | None] | None
) -> Action:
    """The action that a decorated function makes: `callback`, `checkpoint` or `set`."""
    name = getattr(function, "__qualname__", repr(function)).rpartition(".")[2]
    if kind == "set":
        if value is None:
            raise TypeError('on_alert(…, action="set") needs value=, a number or a function of the alert')
        return Set(function, value, f"set {name}")
    return Call(function, f"{kind} {name}", together=kind == "checkpoint")


def by_itself(kind: str) -> Action | None:
    """The action that needs no function: `notify` or `stop`."""
    return Notify() if kind == "notify" else Stop() if kind == "stop" else None
