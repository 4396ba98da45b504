"""Readings of several subjects, run by run -> the rows of build/bench/<area>.json, and the table of ratios."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

OURS = "foreshock"  # every subject of ours begins with this word


@dataclass
class Measure:
    """One thing that is measured, of every subject. Run i of one subject stands beside run i of another: they took turns."""

    what: str
    unit: str
    better: Literal["lower", "higher"]
    runs: dict[str, list[list[float]]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, subject: str, readings: float | Iterable[float]) -> None:
        """One run of this subject: one number or many."""
        numbers = [float(readings)] if isinstance(readings, (int, float)) else [float(r) for r in readings]
        if not numbers:
            raise ValueError(f"{self.what}: a run of {subject} without a reading")
        self.runs.setdefault(subject, []).append(numbers)

    def absent(self, subject: str, reason: str) -> None:
        """This subject could not be measured: a row that says why, never an omission."""
        self.reasons[subject] = " ".join(reason.split())[-400:]

    def medians(self, subject: str) -> list[float]:
        """The median of each run."""
        return [quantile(run, 0.5) for run in self.runs[subject]]

    def rows(self) -> list[dict[str, Any]]:
        """p50 and p99 over all readings; min and max of the runs' medians, which is the spread from run to run."""
        named = {"what": self.what, "unit": self.unit, "better": self.better}
        rows: list[dict[str, Any]] = []
        for subject, runs in self.runs.items():
            everything, medians = [r for run in runs for r in run], self.medians(subject)
            rows.append(
                {
                    **named,
                    "subject": subject,
                    "p50": _number(quantile(everything, 0.5)),
                    "p99": _number(quantile(everything, 0.99)),
                    "min": _number(quantile(medians, 0.0)),
                    "max": _number(quantile(medians, 1.0)),
                    "runs": len(runs),
                }
            )
        nothing = dict.fromkeys(("p50", "p99", "min", "max"))
        rows += [
            {
                **named,
                "subject": subject,
                **nothing,
                "runs": len(self.runs.get(subject, ())),
                "reason": reason,
            }
            for subject, reason in self.reasons.items()
        ]
        return rows

    def ratios(self) -> list[tuple[str, str, list[float]]]:
        """(ours, rival, ours / rival of each pair of runs that has a ratio: none where one is NaN or the rival's is 0)."""
        pairs = []
        for ours in (s for s in self.runs if s.startswith(OURS)):
            for rival in (s for s in self.runs if not s.startswith(OURS)):
                both = zip(self.medians(ours), self.medians(rival), strict=False)
                ratios = [a / b for a, b in both if b != 0 and math.isfinite(a) and math.isfinite(b)]
                pairs.append((ours, rival, ratios))
        return pairs


def quantile(readings: Sequence[float], share: float) -> float:
    """The reading below which this share of them lies, interpolated; NaN when any of them is NaN."""
    if any(math.isnan(r) for r in readings):
        return math.nan
    ordered = sorted(readings)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    if ordered[low] == ordered[high]:  # also where both are infinite: inf - inf would be NaN
        return ordered[low]
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _number(value: float) -> float | str:
    """JSON has no NaN: it is written as the string that it is everywhere in this project."""
    if math.isfinite(value):
        return float(f"{value:.6g}")
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def write(path: Path, machine: dict[str, Any], date: str, measures: Sequence[Measure]) -> None:
    """One area's file."""
    rows = [row for measure in measures for row in measure.rows()]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(
        {"machine": machine, "date": date, "rows": rows}, indent=1, allow_nan=False, ensure_ascii=False
    )
    path.write_text(text + "\n", encoding="utf-8")


def table(measures: Sequence[Measure]) -> str:
    """The ratios for people: for each thing, ours over each rival, the median with min and max over the runs."""
    lines = []
    for measure in measures:
        pairs = measure.ratios()
        lines.append(f"\n{measure.what} ({measure.unit}, {measure.better} is better)")
        for ours, rival, ratios in pairs:
            a, b = quantile(measure.medians(ours), 0.5), quantile(measure.medians(rival), 0.5)
            ratio = "no ratio"
            if ratios:
                spread = f"({min(ratios):.3g} to {max(ratios):.3g}, {len(ratios)} runs)"
                ratio = f"{quantile(ratios, 0.5):9.3g}  {spread}"
            lines.append(f"  {ours + ' / ' + rival:<58}{ratio:<44}{a:.4g} / {b:.4g}")
        if not pairs:
            lines += [_alone(measure, subject) for subject in measure.runs]
        lines += [
            f"  {subject}: not measured: …{reason[-160:]}" for subject, reason in measure.reasons.items()
        ]
    return "\n".join(lines)


def _alone(measure: Measure, subject: str) -> str:
    medians = measure.medians(subject)
    spread = f"({min(medians):.3g} to {max(medians):.3g}, {len(medians)} runs)"
    return f"  {subject:<58}{quantile(medians, 0.5):9.3g}  {spread}"
