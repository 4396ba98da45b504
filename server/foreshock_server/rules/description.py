"""A rule -> what it watches, what its detector does, its level and what it does from step 0, each in a few words. Pure.

`python -m foreshock_server.rules.description` writes the table of the built-in rules into the README beside their packs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import singledispatch
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from foreshock_server.rules.detectors import (
    Absence,
    Band,
    Changed,
    ForecastDrop,
    NonFinite,
    Plateau,
    Shift,
    Slope,
    Spike,
    Threshold,
)
from foreshock_server.rules.detectors.every import Lines
from foreshock_server.rules.load import builtin_packs, parse_pack
from foreshock_server.rules.matching import Match
from foreshock_server.rules.pack import Rule

BEGIN, END = "<!-- rules: begin, `make reference` writes them -->", "<!-- rules: end -->"
_HEAD = (
    "| rule | statistic | detector | default level | basis | from step 0 |",
    "|---|---|---|---|---|---|",
)


class Words(NamedTuple):
    """What a detector compares."""

    does: str  # such as `median of 9 readings falls below`
    level: str  # where it is a breach, critical and clear
    first: str  # when it can first speak, where nothing makes it wait
    begins_ill: str  # of a run that is ill from the first step


def table(rules: Iterable[Rule]) -> list[str]:
    """Lines of Markdown: a row for each rule."""
    return [*_HEAD, *(f"| {' | '.join(_cell(one) for one in _row(rule))} |" for rule in rules)]


def listed(rules: Iterable[Rule]) -> list[str]:
    """Lines for a terminal: three for each rule."""
    lines = []
    for rule in rules:
        rule_id, statistic, does, level, basis, first = _row(rule)
        lines += [
            f"{rule_id.strip('`')}: {rule.title} ({rule.family})",
            f"  {statistic.replace('`', '')}: {does}: {level} (basis: {basis})",
            f"  from step 0: {first}",
        ]
    return lines


def _watched(rule: Rule) -> str:
    """Which series, such as `gradient_norm{place=}`, what is made of them, or which other rules."""
    if rule.joint is not None:
        between = {"all": " and ", "any": " or ", "sequence": ", then "}[rule.joint.way]
        parts = [
            one.rule if "rule" in one.model_fields_set else f"any of {one.family}" for one in rule.joint.parts
        ]
        return "the rules " + between.join(f"`{one}`" for one in parts)
    series = ", ".join(f"`{_series(one)}`" for one in rule.matches)
    if rule.derive is None:
        return series
    other = rule.derive.partner
    made = f"{rule.derive.kind} of {series}"
    return made if other is None else f"{made} and `{_series(other)}`"


def _from_step_0(rule: Rule) -> str:
    """When it can first speak, and what it makes of a run that begins ill."""
    words = _words(rule)
    waits = [f"silent until step {rule.warmup_steps:,}"] if rule.warmup_steps else []
    first = f"then {words.first}" if waits else words.first
    lasts = [f"a breach must last {rule.for_steps:,} steps"] if rule.for_steps else []
    if rule.min_samples > 1:
        lasts.append(f"{rule.min_samples} readings are needed")
    return "; ".join([*waits, first, *lasts, words.begins_ill])


def _row(rule: Rule) -> Sequence[str]:
    words = _words(rule)
    return f"`{rule.id}`", _watched(rule), words.does, words.level, rule.basis, _from_step_0(rule)


def _words(rule: Rule) -> Words:
    if rule.joint is None:
        return said(rule.detector)
    count = len(rule.joint.parts)
    does = {"all": "all of them hold", "any": "some of them hold", "sequence": "they fire in this order"}[
        rule.joint.way
    ]
    level = f"{count} of {count}" if rule.joint.way != "any" else said(rule.detector).level
    return Words(does, level, "as soon as its parts have fired", "begins ill: as its parts say")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _series(match: Match) -> str:
    labels = dict(match.labels)
    if match.place != "*":
        labels = {"place": match.place, **labels}
    if match.rank is not None:
        labels["rank"] = match.rank
    of = f" of {match.family}" if match.statistic == "*" and match.family != "*" else ""
    inside = ",".join(f"{name}={value}" for name, value in labels.items())
    return match.statistic + (f"{{{inside}}}" if inside else "") + of


@singledispatch
def said(detector: object) -> Words:
    """What this detector does, in words. One that has none of its own is told by its parameters."""
    given = detector.model_dump(exclude_defaults=True) if hasattr(detector, "model_dump") else {}
    kind = str(given.pop("kind", type(detector).__name__))
    return Words(kind, ", ".join(f"{name} {value}" for name, value in given.items()), "see its kind", "")


@said.register
def _(detector: Threshold) -> Words:
    below = detector.below is not None
    level = detector.below if below else detector.above
    sign, good = ("<", "≥") if below else (">", "≤")
    told = _levels(
        detector,
        [(sign, level, ""), (sign, detector.critical, "critical "), (good, detector.clear, "clear ")],
    )
    return Words(
        f"{_median(detector.median)} {'below' if below else 'above'}{_base_of(detector)}",
        told,
        *_start_of(detector),
    )


@said.register
def _(detector: Band) -> Words:
    told = _levels(
        detector,
        [
            ("<", detector.low, ""),
            (">", detector.high, ""),
            ("<", detector.critical_low, "critical "),
            (">", detector.critical_high, "critical "),
        ],
    )
    return Words(
        f"{_median(detector.median)} outside a band of{_base_of(detector)}", told, *_start_of(detector)
    )


@said.register
def _(detector: Shift) -> Words:
    rise = detector.kind == "rise"
    sign, good = (">", "≤") if rise else ("<", "≥")
    base = f"the first {detector.baseline_records}" if detector.against == "first" else "the best so far"

    def measured(value: float) -> str:
        return f"{value:g}×" if detector.to is not None else f"{'+' if rise else '-'}{value:g}"

    first = detector.to if detector.to is not None else detector.by
    told = [
        f"{name}{sign if name != 'clear ' else good} {measured(one)}"
        for name, one in (("", first), ("critical ", detector.critical), ("clear ", detector.clear))
        if one is not None
    ]
    if detector.absolute is not None:
        told.append(f"or {sign} {detector.absolute:g} whatever the beginning")
    ready = f"after {detector.baseline_records} readings"
    if detector.absolute is not None:
        ready = f"{ready}, beyond {detector.absolute:g} after {detector.median}"
    ill = "begins ill: told by that" if detector.absolute is not None else _UNSEEN
    return Words(
        f"{_median(detector.median)} {'risen above' if rise else 'fallen below'} {base}",
        ", ".join(told),
        ready,
        ill,
    )


@said.register
def _(detector: ForecastDrop) -> Words:
    shortest = (detector.min_blocks or detector.blocks) * detector.block
    trend = f"trend of {shortest} to {detector.blocks * detector.block} readings leads below a share of the first {detector.baseline_records}"
    told = f"forecast < {detector.share:.0%}, critical < {detector.critical_share:.0%}, clear > {detector.clear_share:.0%}"
    ready = max(detector.baseline_records, detector.median)
    return Words(trend, told, f"trend after {shortest} readings, the critical line after {ready}", _UNSEEN)


@said.register
def _(detector: Slope) -> Words:
    sign, level = ("<", detector.below) if detector.below is not None else (">", detector.above)
    told = [f"{sign} {level:g}" + (" (of the logarithm)" if detector.log else "")]
    told += [] if detector.critical is None else [f"critical {sign} {detector.critical:g}"]
    least = (detector.min_blocks or detector.blocks) * detector.block
    return Words(
        "robust trend per 100 steps",
        ", ".join(told),
        f"after {least} readings",
        "a trend needs no beginning that is well",
    )


@said.register
def _(detector: Spike) -> Words:
    way = {"up": "up", "down": "down", "both": "either way"}[detector.direction]
    alone = "" if detector.alone is None else f", or one reading z > {detector.alone:g}"
    told = f"z > {detector.z:g}{alone}" + (
        "" if detector.critical is None else f", critical > {detector.critical:g}"
    )
    return Words(
        f"{detector.consecutive} readings in a row leap {way} out of the last {detector.window}",
        told,
        f"after {detector.min_records} readings",
        "begins ill: not seen, it tells changes",
    )


@said.register
def _(detector: Plateau) -> Words:
    least = f"{detector.least:.2%}" if detector.relative else f"{detector.least:g}"
    told = f"{detector.records:,} readings without an improvement of {least}"
    told += "" if detector.critical_records is None else f", critical {detector.critical_records:,}"
    return Words(
        f"{_median(detector.median)} no longer improves",
        told,
        f"after {detector.median + detector.records:,} readings",
        "begins ill: told then",
    )


@said.register
def _(detector: Absence) -> Words:
    told = [f"{detector.steps:,} steps"] if detector.steps is not None else []
    told += [f"{detector.seconds:,.0f} s"] if detector.seconds is not None else []
    return Words(
        "nothing comes any more",
        " or ".join(told),
        "from its first reading on",
        "what never came is not missed",
    )


@said.register
def _(detector: Changed) -> Words:
    told = "a change" if detector.least == 0 else f"a change by more than {detector.least:g}"
    return Words(
        "a reading is not the one before",
        told,
        "from the second reading on",
        "the number that it begins with is no change",
    )


@said.register
def _(detector: NonFinite) -> Words:
    bad = "a count above 0" if detector.counts else "NaN or an infinity"
    often = "one" if detector.at_least == 1 else f"{detector.at_least} of {detector.of} readings"
    return Words(bad, often, "at once", "begins ill: told at once")


_UNSEEN = "begins ill: not seen, as that is its baseline"


def _median(count: int) -> str:
    return "a reading" if count == 1 else f"median of {count} readings"


def _base_of(detector: Lines) -> str:
    if detector.relative_to_baseline:
        return f" a multiple of the first {detector.baseline_records}"
    return " a level"


def _levels(detector: Lines, lines: Iterable[tuple[str, float | None, str]]) -> str:
    unit = "×" if detector.relative_to_baseline else ""
    return ", ".join(f"{name}{sign} {value:g}{unit}" for sign, value, name in lines if value is not None)


def _start_of(detector: Lines) -> tuple[str, str]:
    if detector.relative_to_baseline and detector.baseline is None:
        return f"after {max(detector.baseline_records, detector.median)} readings", _UNSEEN
    ready = "from the first reading on" if detector.median == 1 else f"after {detector.median} readings"
    return ready, "begins ill: told then"


def main() -> None:
    """Write the table into the README of the built-in packs."""
    path = Path(str(files("foreshock_server.rules") / "builtin" / "README.md"))
    before, _, rest = path.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    lines = "\n".join(builtin_table())
    path.write_text(f"{before}{BEGIN}\n{lines}\n{END}{after}", "utf-8")


def builtin_table() -> list[str]:
    """Of every rule that ships, under a heading for each pack."""
    lines: list[str] = []
    for name, text in builtin_packs():
        pack = parse_pack(text, name)
        lines += ["", f"### {pack.pack}", "", *table(pack.rules)]
    return [*lines, ""]


if __name__ == "__main__":
    main()
