"""What the server explains is what the SDK's catalogue says; what rules and figures name is explained."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any

import pytest

from foreshock.measure.statistics.catalogue.entry import COSTS
from foreshock.measure.statistics.reference import as_text, document
from foreshock_server.figures.registry import panels
from foreshock_server.query.verdict import FAMILIES
from foreshock_server.reference.endpoint import reference
from foreshock_server.rules.load import RuleSet
from foreshock_server.settings import Settings

STATISTICS: dict[str, Any] = document()["statistics"]


def test_the_shipped_document_is_the_catalogue() -> None:
    shipped = files("foreshock_server.reference").joinpath("statistics.json").read_text("utf-8")
    assert shipped == as_text(), "run `make reference`"
    assert reference() == json.loads(shipped)


@pytest.mark.parametrize("name", STATISTICS)
def test_every_statistic_is_explained(name: str) -> None:
    told = STATISTICS[name]
    for field in ("family", "title", "formula", "source", "degenerate", "healthy", "collapsed"):
        assert told[field].strip(), f"{name} says nothing about {field}"
    assert told["cost"] in COSTS
    assert told["family"] in FAMILIES
    assert told["merge"] in ("none", "sum", "mean", "max", "min", "norm")
    assert not told["weight"] or (told["merge"] == "mean" and STATISTICS[told["weight"]]["merge"] == "sum")
    for field in ("title", "formula", "source", "degenerate", "healthy", "collapsed", "caveats"):
        assert "TODO" not in told[field]
        assert told[field] == told[field].strip()


def test_every_cost_is_used_and_explained() -> None:
    assert {told["cost"] for told in STATISTICS.values()} == set(COSTS)


def test_what_built_in_rules_watch_is_explained(tmp_path: Any) -> None:
    rules = RuleSet.load(Settings(data_dir=tmp_path)).rules
    named = {match.statistic for rule in rules for match in rule.matches if match.family != "training"}
    for pattern in named:
        assert any(fnmatchcase(name, pattern) for name in STATISTICS), f"no statistic fits {pattern}"


def test_what_figures_lead_with_is_explained() -> None:
    for panel in panels():
        if panel.leads and panel.family != "training":
            assert any(statistic in STATISTICS for statistic in panel.leads), (
                f"figure {panel.name} is not explained"
            )
