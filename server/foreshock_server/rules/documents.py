"""YAML text -> the mapping that it holds. What is wrong is said in a sentence, with line and column."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import yaml

from foreshock_server.errors import DomainError


class BadRules(DomainError):
    """The rule packs cannot be used."""

    status = 422

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def mapping_in(text: str, name: str, otherwise: str, *, aliases: bool = True) -> dict[str, Any]:
    """The mapping; BadRules, with `otherwise` for YAML that holds something else. `name` is the file.

    `aliases=False` refuses `*name`, for text from elsewhere: a few lines of them can stand for gigabytes.
    """
    try:
        data = yaml.load(text, Loader=_NoDuplicates if aliases else _NoAliases)  # noqa: S506 (both are SafeLoaders)
    except yaml.YAMLError as error:
        raise BadRules([f"{name}: not YAML: {_first_line(error)}"]) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # What looks like a date or a number and is none: `2001-13-45`, `0x_`, `!!timestamp x`.
        raise BadRules([f"{name}: not YAML: a value cannot be read ({error}); put it in quotes."]) from None
    except RecursionError:
        raise BadRules([f"{name}: not YAML for us: it is nested too deep."]) from None
    if not isinstance(data, dict):
        raise BadRules([f"{name}: {otherwise}."])
    return data


def instead(word: str, known: list[str]) -> str:
    """What to write for a word that is none of these."""
    close = get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"write one of: {', '.join(known)}."


class _NoDuplicates(yaml.SafeLoader):
    """Of two equal keys YAML silently takes the last: in a list of limits that is a trap."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is not text", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{key}` comes twice in one mapping; keep one", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class _NoAliases(_NoDuplicates):
    """Every node is written where it stands."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "`*` names another part; write that part out", mark)
        return super().compose_node(parent, index)


def _first_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error)
    return what if mark is None else f"{what} (line {mark.line + 1}, column {mark.column + 1})"
