"""What the catalogue says of merging ranks is true: parts of a batch, measured apart and merged as the server does, read as the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sdk.subjects import SUBJECTS, Subject
from tests.sdk.subjects.subject import Readings
from tests.sdk.test_properties import few, generator, seeds

from foreshock.measure.statistics import STATISTICS
from foreshock.series import SeriesSpec
from foreshock_server.ranks.merging import merged

torch.set_num_threads(1)

ENOUGH = 96  # rows of each rank, where an average of ranks is compared with the whole
MIXED = [subject for subject in SUBJECTS if subject.ranked]
mixed = pytest.mark.parametrize("subject", MIXED, ids=lambda subject: subject.name)


def together(parts: Sequence[Readings]) -> Readings:
    """The statistics that can be merged, each with the weight that its entry names."""
    found = {}
    for spec in parts[0]:
        if spec.merge is None:
            continue
        values = np.array([[part[spec] for part in parts]])
        weights = np.array([[_weight(spec, part) for part in parts]])
        found[spec] = float(merged(spec.merge, values, weights, np.ones(values.shape, bool))[0])
    return found


def _weight(spec: SeriesSpec, part: Readings) -> float:
    """What counts the rows: the one with the most of its labels and no other; 1 where there is none."""
    labels = set(spec.all_labels.items())
    fitting = [
        (len(other.all_labels), value)
        for other, value in part.items()
        if other.statistic == spec.weight and set(other.all_labels.items()) <= labels
    ]
    return max(fitting)[1] if fitting else 1.0


@mixed
@few
@given(sizes=st.lists(st.integers(1, 12), min_size=2, max_size=4), seed=seeds)
def test_what_is_merged_exactly_is_what_the_whole_batch_reads(
    subject: Subject, sizes: list[int], seed: int
) -> None:
    if subject.even:
        sizes = [sizes[0]] * len(sizes)
    shown = subject.draw(sum(sizes) * subject.block, generator(seed))
    if subject.count(shown) != sum(sizes):  # it has few rows, however many are asked for
        sizes = [1] * subject.count(shown)
    whole = subject.read(shown)
    parts = [subject.read(part) for part in subject.split(shown, sizes)]
    loose = (*subject.averaged, *subject.bounded, *subject.loose)
    for spec, value in together(parts).items():
        empty = any(math.isnan(part[spec]) and _weight(spec, part) > 0 for part in parts)
        if spec.statistic in loose or empty:  # a rank that cannot say makes all of them silent
            continue
        near = pytest.approx(whole[spec], rel=subject.tolerance, abs=subject.small, nan_ok=True)
        assert value == near, spec.key


@pytest.mark.parametrize(
    "subject", [subject for subject in MIXED if subject.bounded], ids=lambda subject: subject.name
)
@few
@given(sizes=st.lists(st.integers(4, 12), min_size=2, max_size=4), seed=seeds)
def test_what_is_merged_to_a_bound_is_one(subject: Subject, sizes: list[int], seed: int) -> None:
    shown = subject.draw(sum(sizes) * subject.block, generator(seed))
    whole = subject.read(shown)
    parts = [subject.read(part) for part in subject.split(shown, sizes)]
    for spec, value in together(parts).items():
        if spec.statistic in subject.bounded and not math.isnan(value):
            assert value >= whole[spec] - subject.small, spec.key


@pytest.mark.parametrize(
    "subject", [subject for subject in MIXED if subject.averaged], ids=lambda subject: subject.name
)
@settings(few, max_examples=4)
@given(seed=seeds)
def test_what_is_averaged_over_ranks_is_near_what_the_whole_batch_reads(subject: Subject, seed: int) -> None:
    shown = subject.draw(3 * ENOUGH * subject.block, generator(seed))
    sizes = [ENOUGH] * 3 if subject.count(shown) == 3 * ENOUGH else [1] * subject.count(shown)
    whole = subject.read(shown)
    for spec, value in together([subject.read(part) for part in subject.split(shown, sizes)]).items():
        if spec.statistic in subject.averaged:
            near = pytest.approx(whole[spec], rel=subject.apart, abs=subject.apart, nan_ok=True)
            assert value == near, spec.key


# Read of the whole model, or of one loss, which every rank has: merging has nothing to do but to keep it.
REPLICATED = {
    *("sharpness", "sharpness_times_lr", "hessian_trace", "gradient_noise_scale", "micro_batches"),
    *("sharpness_residual", "weight_spectral_residual"),
    *("weight_spectral_norm", "weight_stable_rank", "variance_dead_share", "skipped_step_share"),
}


def test_every_merge_of_the_catalogue_is_put_to_the_test() -> None:
    told = {name for name, statistic in STATISTICS.items() if statistic.merge != "none"}
    read = {
        spec.statistic
        for subject in MIXED
        for spec in subject.read(subject.draw(8 * subject.block, generator(0)))
    }
    assert told - read == REPLICATED & told
    assert {STATISTICS[name].merge for name in REPLICATED} <= {"mean", "max"}


def test_what_ranks_agree_on_stays_as_it_is() -> None:
    values = np.full((1, 4), 0.7)
    for how in ("mean", "max", "min"):
        assert merged(how, values, np.ones((1, 4)), np.ones((1, 4), bool))[0] == pytest.approx(0.7, rel=1e-15)


def test_a_mean_without_a_weight_is_of_what_has_no_rows_or_counts_ranks_alike() -> None:
    weighted = {
        statistic.weight
        for statistic in STATISTICS.values()
        if statistic.weight and STATISTICS[statistic.weight].merge != "sum"
    }
    assert weighted == set()
    assert not [one.name for one in STATISTICS.values() if one.weight and one.merge != "mean"]
