"""The table of statistics: complete, and true of what the functions return."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from tests.sdk.device_functions import DEVICE_FUNCTIONS, DeviceFunction
from tests.sdk.device_functions.function import matrix

from foreshock.measure.statistics import STATISTICS, representation
from foreshock.measure.statistics.table import FAMILIES

torch.set_num_threads(1)


def test_every_statistic_is_computed_by_a_device_function_that_the_lint_runs() -> None:
    computed = {spec.statistic for function in DEVICE_FUNCTIONS for spec in function.series}
    assert computed == set(STATISTICS)


@pytest.mark.parametrize("name", STATISTICS)
def test_every_statistic_says_what_it_is(name: str) -> None:
    statistic = STATISTICS[name]
    assert statistic.name == name
    assert statistic.family in FAMILIES
    assert statistic.title
    assert statistic.title[0].isupper()
    assert statistic.source
    assert statistic.degenerate
    assert statistic.low is None or statistic.high is None or statistic.low < statistic.high


@pytest.mark.parametrize("function", DEVICE_FUNCTIONS, ids=lambda function: function.name)
def test_functions_return_float32_vectors_on_the_device_of_their_input(function: DeviceFunction) -> None:
    for output in function.run(function.inputs()):
        assert output.dtype == torch.float32
        assert output.dim() == 1


@pytest.mark.parametrize(
    "function",
    [one for one in DEVICE_FUNCTIONS if one.name.startswith("policy")],
    ids=lambda function: function.name,
)
def test_policy_values_lie_in_their_range(function: DeviceFunction) -> None:
    (row,) = function.run(function.inputs())
    assert len(row) == len(function.series)
    for spec, value in zip(function.series, row.tolist(), strict=True):
        in_range(spec.key, spec.low, spec.high, value)


def test_representation_values_lie_in_their_range() -> None:
    values, product = representation.measure(matrix(300, 64))
    finished = product.problem.solve(product.payload().numpy())
    specs = [*representation.series("h", labelled=True), *representation.finished_series("h")]
    for spec, value in zip(specs, [*values.tolist(), *finished], strict=True):
        in_range(spec.key, spec.low, spec.high, value)


def in_range(key: str, low: float | None, high: float | None, value: float) -> None:
    assert math.isfinite(value), key
    assert low is None or value >= low - 1e-6, key
    assert high is None or value <= high + 1e-6, key


def test_the_table_and_the_finishing_of_ranks_need_no_torch() -> None:
    code = "import sys, foreshock.measure.statistics, foreshock.measure.finish, foreshock.measure.problems.wire; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
