"""A reading and where the alert stands -> one plain sentence, and the JSON that alerts, messages and charts read."""

from __future__ import annotations

import math
from typing import Any, Protocol

from foreshock_server.rules.detectors import Forecast, Reading
from foreshock_server.rules.matching import SeriesLike
from foreshock_server.rules.pack import Rule
from foreshock_server.rules.state import Machine, State


class About(SeriesLike, Protocol):
    """What of a series a sentence needs."""

    @property
    def key(self) -> str: ...
    @property
    def unit(self) -> str: ...


def number(value: float | None) -> float | str | None:
    """As JSON takes it: what is not finite becomes text."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def as_json(rule: Rule, series: About, reading: Reading, machine: Machine) -> dict[str, Any]:
    """Alert.reading and Transition.detail: the numbers that were compared, and the sentence."""
    share = _share(reading)
    return {
        "title": rule.title,
        "family": series.family,
        "rule_family": rule.family,
        "key": series.key,
        "statistic": series.statistic,
        "place": series.place,
        "unit": series.unit,
        "value": number(reading.value),
        "level": number(reading.level),
        "baseline": number(reading.baseline),
        "share_of_baseline": None if share is None else round(share, 4),
        "threshold": number(reading.threshold),
        "warn_level": number(reading.warn_level),
        "clear": number(reading.clear_level),
        "forecast": None if reading.forecast is None else reading.forecast._asdict(),
        "message": sentence(rule, series, reading, machine),
        **({} if rule.made is None else {"derived": rule.made}),
        **({"labels": dict(rule.labels)} if rule.labels else {}),
        **({"entry": reading.entry} if reading.entry is not None else {}),
    }


def sentence(rule: Rule, series: About, reading: Reading, machine: Machine) -> str | None:
    """What, where, since which step, how much, and how long is left; None while nothing is wrong."""
    if machine.state is State.OK or machine.since_step is None:
        return None
    if machine.state is State.PENDING:
        opening = f"{rule.title} may be beginning"
    else:
        opening = rule.opening(machine.severity.value)
    if rule.joint is not None:
        return f"{opening} since step {machine.since_step:,}: {reading.entry}."
    where = _where(rule, series, reading.entry)
    since = f"{opening}{where} since step {machine.since_step:,}"
    if reading.note is not None and math.isnan(reading.value):  # that nothing comes is no number
        return f"{since}: {reading.note}."
    parts = [f"{since}: {_amount(series, reading)}"]
    share = _share(reading)
    if reading.note is not None:
        parts.append(reading.note)
    elif share is not None:
        parts.append(f"{_percent(share)} of baseline")
    elif reading.threshold is not None and reading.level is not None:
        parts.append(_limit(reading))
    if reading.forecast is not None and machine.state is State.FIRING:
        parts.append(_ahead(reading.forecast))
    return ", ".join(parts) + "."


def resolution(rule: Rule, series: About, reading: Reading, fired_step: int | None, step: int) -> str:
    """What is said when it ends."""
    if rule.joint is not None:
        fired = "" if fired_step is None else f" (fired at step {fired_step:,})"
        return f"Resolved: {rule.title} at step {step:,}: {reading.value:g} of its {len(rule.joint.parts)} conditions hold{fired}."
    share = _share(reading)
    amount = reading.note if math.isnan(reading.value) else None
    amount = amount or _amount(series, reading) + (
        "" if share is None else f", {_percent(share)} of baseline"
    )
    fired = "" if fired_step is None else f" (fired at step {fired_step:,})"
    return f"Resolved: {rule.title}{_where(rule, series)} at step {step:,}: {amount}{fired}."


def _share(reading: Reading) -> float | None:
    if reading.baseline is None or reading.baseline <= 0 or reading.level is None:
        return None
    return reading.level / reading.baseline


def _where(rule: Rule, series: About, entry: str | None = None) -> str:
    """The statistic is named where the rule is about several of them, the entry where it is one of a vector's."""
    named = any("*" in one.statistic or "?" in one.statistic for one in rule.matches)
    what = f" ({series.statistic})" if named else ""
    labels = [f"{key} {value}" for key, value in series.labels.items() if key in {"rank", "tensor", "head"}]
    further = ", ".join(labels if entry is None else [*labels, entry])
    return what + (f" at {series.place}" if series.place else "") + (f" ({further})" if further else "")


def _amount(series: About, reading: Reading) -> str:
    value = reading.value if reading.level is None else reading.level
    text = str(number(value)) if not math.isfinite(value) else f"{value:,.3g}"
    return f"{text} {series.unit}".rstrip()


def _limit(reading: Reading) -> str:
    line = reading.threshold if reading.critical or reading.warn_level is None else reading.warn_level
    return f"beyond {line:,.3g}" if reading.breach else f"limit {line:,.3g}"


def _ahead(forecast: Forecast) -> str:
    low, high = f"{forecast.low_steps:,}", f"{forecast.high_steps:,}"
    span = f"about {high} steps" if low == high else f"about {low} to {high} steps"
    return f"at this pace below {_percent(forecast.target_share)} in {span}"


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %") if share >= 0.01 else "less than 1 %"
