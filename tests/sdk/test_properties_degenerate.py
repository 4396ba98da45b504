"""Each clause of what the catalogue says of degenerate input is executed: a case that makes it true reads what it says."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from tests.sdk.scenarios import SCENARIOS, Scenario
from tests.sdk.scenarios.scenario import clauses

from foreshock.measure.statistics import STATISTICS
from foreshock.series import SeriesSpec

torch.set_num_threads(1)


@functools.cache
def made(scenario: Scenario) -> list[tuple[SeriesSpec, str, float, tuple[float, ...]]]:
    return list(scenario.claims())


def reads(value: float, allowed: tuple[float, ...]) -> bool:
    return any(
        value == one or (math.isnan(value) and math.isnan(one)) or abs(value - one) <= 2e-6 for one in allowed
    )


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_degenerate_case_reads_what_the_catalogue_says(scenario: Scenario) -> None:
    claims = made(scenario)
    assert claims, "the pattern is found in nothing that this reads"
    for spec, clause, value, allowed in claims:
        assert reads(value, allowed), f"{spec.key} reads {value}: {clause}"


def test_every_clause_is_executed() -> None:
    told = {(name, clause) for name in STATISTICS for clause in clauses(name)}
    done = {(spec.statistic, clause) for one in SCENARIOS for spec, clause, _, _ in made(one)}
    assert told - done == set()
