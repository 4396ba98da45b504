"""Inputs that carry no information, by what the catalogue says of them. One module per area, each with SCENARIOS, found by being here."""

from importlib import import_module
from pkgutil import iter_modules

from tests.sdk.scenarios.scenario import Scenario

__all__ = ["SCENARIOS", "Scenario"]

SCENARIOS: list[Scenario] = [
    scenario
    for module in iter_modules(__path__)
    if module.name != "scenario"
    for scenario in import_module(f"{__name__}.{module.name}").SCENARIOS
]
