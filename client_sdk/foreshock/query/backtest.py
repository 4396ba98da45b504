"""What a backtest found -> a table of rules and runs, as a notebook shows it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .tables import Table

_SHOWN = ("rule", "run", "fired_step", "share_of_baseline", "lead", "resolved_step", "healthy")


def pack_text(pack: str | os.PathLike[str]) -> str:
    """The text of a rule pack: what is one line, or a path, names a file."""
    if isinstance(pack, str) and "\n" in pack:
        return pack
    return Path(pack).read_text("utf-8")


class Backtest(Table):
    """One row per rule and run in which something went wrong; `found` is everything that the server said."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.found = dict(found)
        names = {one["run"]: one["name"] for one in found["runs"]}
        rows = []
        for rule in found["rules"]:
            healthy = rule["healthy"]
            among = f"{healthy['fired']} of {healthy['watched']}"
            for one in rule["runs"] or [{}]:
                name = names.get(one.get("run"))
                rows.append(
                    {**one, "rule": rule["rule"], "run": name, "run_id": one.get("run"), "healthy": among}
                )
        super().__init__(rows, _SHOWN, "no rules")

    def summaries(self) -> dict[str, str]:
        """By rule, a sentence such as `fired at 412, 74 % of baseline, lead 530 steps, 0 of 12 healthy runs`."""
        return {rule["rule"]: rule["summary"] for rule in self.found["rules"]}
