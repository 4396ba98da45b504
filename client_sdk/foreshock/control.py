"""What the server answers -> what the training loop can ask: the alerts that are firing, and those that are new."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload


class StopTraining(Exception):
    """Raise it in an alert callback: it leaves `run.step()` and ends the training loop, as you wish."""


@dataclass(frozen=True)
class Alert:
    """One alert of this run, as the server last told it."""

    rule: str
    series: str
    state: str  # "firing", or "resolved" in a callback for resolutions
    severity: str
    step: int | None
    value: float | None
    baseline: float | None
    threshold: float | None
    message: str
    episode: int

    @classmethod
    def from_wire(cls, told: Mapping[str, Any]) -> Alert:
        """The contract's object; fields of later versions are ignored."""
        return cls(
            rule=str(told["rule"]),
            series=str(told.get("series", "")),
            state=str(told.get("state", "firing")),
            severity=str(told.get("severity", "warning")),
            step=None if told.get("step") is None else int(told["step"]),
            value=_number(told.get("value")),
            baseline=_number(told.get("baseline")),
            threshold=_number(told.get("threshold")),
            message=str(told.get("message", "")),
            episode=int(told.get("episode", 1)),
        )

    @property
    def identity(self) -> tuple[str, str, int]:
        """One episode of one rule on one series."""
        return (self.rule, self.series, self.episode)


def _number(told: Any) -> float | None:
    return None if told is None else float(told)  # "NaN" and "Infinity" included


class Alerts(Sequence[Alert]):
    """The alerts of the run that are firing now, as far as this process has heard: a list that is true when there are any."""

    def __init__(self) -> None:
        self._firing: tuple[Alert, ...] = ()

    @overload
    def __getitem__(self, index: int) -> Alert: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Alert]: ...
    def __getitem__(self, index: int | slice) -> Alert | Sequence[Alert]:
        return self._firing[index]

    def __len__(self) -> int:
        return len(self._firing)

    def __iter__(self) -> Iterator[Alert]:
        return iter(self._firing)

    def __repr__(self) -> str:
        return f"Alerts({list(self._firing)!r})"

    def firing(self, rule: str | None = None) -> list[Alert]:
        """Those of one rule, or all."""
        return [alert for alert in self._firing if rule is None or alert.rule == rule]


class Control:
    """Hears the server's answers on the sender's thread, keeps what is new for the training thread."""

    def __init__(self) -> None:
        self.alerts = Alerts()
        self.news: deque[Alert] = deque(maxlen=1000)  # empty nearly always: what step() looks at
        self._lock = threading.Lock()
        self._seen: set[tuple[str, str, int]] = set()

    def hear(self, told: Iterable[Mapping[str, Any]]) -> None:
        """The whole list of firing alerts, as each answer carries it. Called by the sender."""
        firing = tuple(Alert.from_wire(one) for one in told)
        with self._lock:
            now = {alert.identity for alert in firing}
            for alert in self.alerts:
                if alert.identity not in now:
                    self.news.append(replace(alert, state="resolved"))
            for alert in firing:
                if alert.identity not in self._seen:
                    self._seen.add(alert.identity)
                    self.news.append(alert)
            self.alerts._firing = firing
