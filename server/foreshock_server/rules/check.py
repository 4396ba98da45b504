"""Paths of rule packs -> a line for each file, and whether all of them could be loaded: what `foreshock rules check` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foreshock_server.rules.documents import BadRules
from foreshock_server.rules.load import builtin_packs, duplicates, parse_pack, unknown_disabled
from foreshock_server.rules.pack import Pack
from foreshock_server.rules.parts import unknown_parts


def check(paths: Sequence[Path]) -> tuple[list[str], bool]:
    """Lines to print and True when nothing is wrong. A folder stands for its *.yaml and *.yml; no path for the built-in packs."""
    lines: list[str] = []
    own: list[tuple[str, Pack]] = []
    good = True
    for name, text in _texts(paths) if paths else builtin_packs():
        if text is None:
            lines.append(f"{name}: there is no such file; give a YAML file, or a folder with some.")
            good = False
            continue
        try:
            pack = parse_pack(text, name)
        except BadRules as bad:
            lines += bad.problems
            good = False
            continue
        own.append((name, pack))
        lines.append(f"{name}: OK, {_rules(len(pack.rules))}")
    builtin = {rule.id: rule for name, text in builtin_packs() for rule in parse_pack(text, name).rules}
    between = duplicates(own) + unknown_disabled(own, builtin) + unknown_parts(own, builtin.values())
    return lines + between, good and not between


def _texts(paths: Sequence[Path]) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.suffix in {".yaml", ".yml"})
            found += [(str(one), one.read_text("utf-8")) for one in inside] or [(str(path), None)]
        else:
            found.append((str(path), path.read_text("utf-8") if path.is_file() else None))
    return found


def _rules(count: int) -> str:
    return "1 rule" if count == 1 else f"{count} rules"
