"""Joint rules and all the others -> which of those each is about, and what is said where it means none. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from foreshock_server.rules.documents import instead
from foreshock_server.rules.pack import Pack, Rule


def unknown_parts(packs: Sequence[tuple[str, Pack]], builtin: Iterable[Rule]) -> list[str]:
    """A sentence for each part of a joint rule that means no rule, of these packs or built in."""
    known = [*builtin, *(rule for _, pack in packs for rule in pack.rules)]
    problems = []
    for name, pack in packs:
        for rule in pack.rules:
            for place, found in enumerate(parts_among(rule, known)):
                if rule.joint is not None and not found:
                    part = rule.joint.parts[place]
                    said = {one: getattr(part, one) for one in sorted(part.model_fields_set)}
                    ids = sorted(one.id for one in known if can_be_part(one))
                    problems.append(
                        f"{name}, rule {rule.id}: `joint.{rule.joint.way}[{place}]` means no rule that can be part of another "
                        f"({', '.join(f'{key}: {value}' for key, value in said.items())}); {instead(part.rule, ids)}"
                    )
    return problems


def parts_among(rule: Rule, rules: Iterable[Rule]) -> list[list[Rule]]:
    """Of a joint rule, by part, those of these rules that are meant."""
    able = [one for one in rules if can_be_part(one)]
    parts = [] if rule.joint is None else rule.joint.parts
    return [[one for one in able if part.fits(one.id, one.family)] for part in parts]


def can_be_part(rule: Rule) -> bool:
    """False for a joint rule, and for one to which silence means something: what that says does not come with a reading."""
    return rule.joint is None and rule.listening is None
