"""Files of rule tests -> lines to print, and whether every test passed: what `foreshock rules test` says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from foreshock_server.rules.documents import BadRules
from foreshock_server.rules.load import (
    RuleSet,
    builtin_packs,
    builtin_tests,
    parse_pack,
    with_builtin_parts,
)
from foreshock_server.rules.trial.cases import Cases, parse_cases
from foreshock_server.rules.trial.drawn import run

Given = tuple[
    str, Callable[[], str], Path
]  # a name, what reads its text, and the folder that its `pack` may lie in


def run_files(paths: Sequence[Path]) -> tuple[list[str], bool]:
    """A line per test, more for each that failed, and True when none did. A folder stands for its *.yaml and *.yml."""
    return _run((str(path), partial(_text, path), path.parent) for path in _files(paths))


def run_builtin() -> tuple[list[str], bool]:
    """The same of the tests that ship with the built-in packs."""
    return _run((f"built-in {name}", partial(str, text), Path()) for name, text in builtin_tests())


def builtin_cases() -> Iterator[tuple[Cases, RuleSet]]:
    """The tests that ship, with the rules of their pack."""
    for name, text in builtin_tests():
        cases = parse_cases(text, name)
        yield cases, named_rules(cases.pack, Path())


def _run(files: Iterable[Given]) -> tuple[list[str], bool]:
    lines: list[str] = []
    passed = failed = 0
    broken = False
    for name, read, folder in files:
        try:
            cases = parse_cases(read(), name)
            rules = named_rules(cases.pack, folder)
        except BadRules as bad:
            lines += bad.problems
            broken = True
            continue
        for case in cases.tests:
            problems = run(case, rules)
            lines.append(f"{'FAIL' if problems else 'ok  '} {name}: {case.name} ({case.rule})")
            lines += [f"       {problem}" for problem in problems]
            failed += bool(problems)
            passed += not problems
    lines.append(
        f"{passed} passed, {failed} failed" + (", and some files could not be read" if broken else "")
    )
    return lines, not failed and not broken


def named_rules(name: str | None, folder: Path) -> RuleSet:
    """The rules of a file in this folder, of a built-in pack, or (None) of all built-in packs; BadRules when there is no such."""
    built_in = {Path(file).stem: (file, text) for file, text in builtin_packs()}
    if name is None:
        chosen = list(built_in.values())
    elif (folder / name).is_file():
        chosen = [(str(folder / name), _text(folder / name))]
    elif name in built_in:
        chosen = [built_in[name]]
    else:
        raise BadRules(
            [f"There is no pack {name!r}; write the path of a YAML file, or one of: {', '.join(built_in)}."]
        )
    found = {rule.id: (rule, file) for file, text in chosen for rule in parse_pack(text, file).rules}
    rules = tuple(rule for rule, _ in found.values())
    return with_builtin_parts(RuleSet(rules, {key: file for key, (_, file) in found.items()}))


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        inside = (
            sorted(one for one in path.iterdir() if one.suffix in {".yaml", ".yml"}) if path.is_dir() else []
        )
        found += inside or [path]
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise BadRules(
            [f"{path}: cannot be read ({error.strerror}); give a YAML file, or a folder with some."]
        ) from None
    except UnicodeDecodeError:
        raise BadRules([f"{path}: is no text; save it as UTF-8."]) from None
