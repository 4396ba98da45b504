"""The catalogue as one JSON document: what the server explains each statistic from. `python -m …reference FILE` writes it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .catalogue import monitor
from .catalogue.entry import COSTS, Statistic
from .table import STATISTICS


def document() -> dict[str, Any]:
    """Every statistic by name, in the order of the families, and what the words for costs mean."""
    return {
        "costs": dict(COSTS),
        "statistics": {one.name: _told(one) for one in (*STATISTICS.values(), *monitor.STATISTICS)},
    }


def as_text() -> str:
    """The document as it is kept."""
    return json.dumps(document(), ensure_ascii=False, indent=1) + "\n"


def _told(one: Statistic) -> dict[str, Any]:
    told = asdict(one)
    del told["name"]
    told["needs"] = list(one.needs)
    if one.columns == "none":
        del told["columns"]
    return told


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(as_text(), encoding="utf-8")
