"""Every probe, in the order of the watch table; a model in, the plan of what they would watch, and its table, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from foreshock.guard import guard
from foreshock.measure.layouts import word_at

from . import activations, attention, codebooks, norms, optimiser, routers, units, value_heads, weights
from .choose import matches
from .families import Choice
from .subject import Planned, Probe, Subject
from .table import Watched, WatchTable

PROBES: tuple[Probe, ...] = (
    activations.plan,
    attention.plan,
    norms.plan,
    value_heads.plan,
    routers.plan,
    codebooks.plan,
    units.plan,
    optimiser.plan,
    weights.plan,
)


def planned(subject: Subject) -> list[Planned]:
    """What they would watch in this model; a probe that a strange model upsets leaves the others their lines."""
    subject.check()
    lines: list[Planned] = []
    for probe in PROBES:
        with guard(f"planning in {probe.__module__.rpartition('.')[2]}"):
            lines += probe(subject)
    _check(subject, lines)
    return lines


def table(
    subject: Subject, choice: Choice, every: Mapping[str, int], lines: Sequence[Planned] | None = None
) -> WatchTable:
    """The table of what was chosen, or of these lines of it."""
    kept_out = _kept_out(subject, choice.absent)
    return WatchTable(
        rows=tuple(
            Watched(
                place=line.place,
                module=line.module,
                measured=line.measured,
                every=every[line.kind],
                family=line.family,
                kind=line.kind,
                series=line.series,
                operations=line.operations,
                values=line.values,
                layout=word_at(subject.layout, line.where.removeprefix(subject.prefix)) if line.where else "",
            )
            for line in (choice.lines if lines is None else lines)
        ),
        parameters=subject.parameters,
        off=tuple(dict.fromkeys(line.kind for line in choice.off)),
        absent=tuple(family for family in choice.absent if family not in kept_out),
        kept_out=tuple(kept_out.items()),
    )


def _check(subject: Subject, lines: Sequence[Planned]) -> None:
    """Complain about layouts of what is nowhere."""
    places = list(dict.fromkeys(line.where.removeprefix(subject.prefix) for line in lines if line.where))
    for one in subject.layout:
        if not any(matches(place, [one.pattern]) for place in places):
            raise ValueError(
                f"layout[{one.pattern!r}] matches no place; places are named like {places[:6]}, as the table prints them,"
                " with '.input' behind what a module is given; * stands for one part of a name, ** for any"
            )


def _kept_out(subject: Subject, absent: Sequence[str]) -> dict[str, str]:
    """Which of these families the model has where the patterns choose nothing, and the first place of each."""
    if not absent or (subject.include is None and not subject.exclude):
        return {}
    first: dict[str, str] = {}
    for line in planned(replace(subject, include=None, exclude=())):
        if line.family in absent:
            first.setdefault(line.family, line.place)
    return first
