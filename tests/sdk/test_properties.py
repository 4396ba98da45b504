"""What must be true of every measurement whatever it measures: of order, masks, scale, half precision. Inputs are drawn at random."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.sdk.subjects import SUBJECTS, Subject
from tests.sdk.subjects.subject import Readings

from foreshock.series import SeriesSpec

torch.set_num_threads(1)

few = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
blocks = st.integers(2, 24)
seeds = st.integers(0, 2**31 - 1)
every_subject = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)


def having(field: str) -> pytest.MarkDecorator:
    chosen = [subject for subject in SUBJECTS if getattr(subject, field)]
    return pytest.mark.parametrize("subject", chosen, ids=lambda subject: subject.name)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tolerance(subject: Subject, spec: SeriesSpec, value: float) -> float:
    """A float32 product leaves an error of 2⁻²⁴ of the largest eigenvalue in the smallest, which the condition number is over."""
    if spec.statistic != "condition_number" or not value < math.inf:
        return subject.tolerance
    return max(subject.tolerance, min(0.02, value * 2**-24))


def same(found: Readings, expected: Readings, subject: Subject, without: Iterable[str] = ()) -> None:
    """Every reading but those of some statistics; NaN is equal to NaN."""
    assert found.keys() == expected.keys()
    for spec, value in expected.items():
        if spec.statistic not in set(without):
            near = pytest.approx(value, rel=tolerance(subject, spec, value), abs=subject.small, nan_ok=True)
            assert found[spec] == near, spec.key


@every_subject
@few
@given(count=blocks, seed=seeds)
def test_the_order_of_the_rows_does_not_matter(subject: Subject, count: int, seed: int) -> None:
    g = generator(seed)
    shown = subject.draw(count * subject.block, g)
    order = torch.randperm(subject.count(shown), generator=g)
    same(subject.read(subject.picked(shown, order)), subject.read(shown), subject, subject.ordered)


@pytest.mark.parametrize(
    "subject",
    [subject for subject in SUBJECTS if "valid" in subject.rows and not subject.unmasked],
    ids=lambda subject: subject.name,
)
@few
@given(count=blocks, more=st.integers(1, 40), seed=seeds)
def test_masked_rows_change_nothing_whatever_they_hold(
    subject: Subject, count: int, more: int, seed: int
) -> None:
    g = generator(seed)
    shown = subject.draw(count * subject.block, g)
    padded = subject.padded(shown, more, g)
    same(subject.read(padded), subject.read(shown), subject, (*subject.ordered, "nonfinite_count"))


@having("spoiled")
@few
@given(count=st.integers(6, 24), seed=seeds, share=st.floats(0.05, 0.45))
def test_rows_that_are_not_finite_are_left_out(subject: Subject, count: int, seed: int, share: float) -> None:
    g = generator(seed)
    shown = subject.draw(count * subject.block, g)
    if "valid" in shown:
        shown["valid"] = torch.ones_like(shown["valid"])
    total = subject.count(shown)
    order = torch.randperm(total, generator=g)
    lost = max(1, min(int(share * total), (total - 1) // 2))
    bad, good = order[:lost], order[lost:]
    spoiled = {name: x.clone() for name, x in shown.items()}
    for name in subject.spoiled:
        axis = subject.rows[name]
        part = spoiled[name].index_select(axis, bad)
        column = int(torch.randint(0, part.shape[-1], (1,), generator=g))
        nan = torch.rand(part[..., column].shape, generator=g) > 0.5
        part[..., column] = torch.full(nan.shape, math.inf).masked_fill(nan, math.nan)
        spoiled[name].index_copy_(axis, bad, part)
    expected = subject.read(subject.picked(shown, good.sort().values))
    same(subject.read(spoiled), expected, subject, (*subject.ordered, "nonfinite_count"))


@having("scaled")
@few
@given(count=blocks, seed=seeds, power=st.integers(-24, 24), odd=st.sampled_from([1.0, 1.7]))
def test_the_scale_of_the_input_is_told_apart_from_its_shape(
    subject: Subject, count: int, seed: int, power: int, odd: float
) -> None:
    shown = subject.draw(count * subject.block, generator(seed))
    factor = odd * 2.0**power
    larger = {name: x * factor if name in subject.scaled else x for name, x in shown.items()}
    expected = {
        spec: value * factor ** subject.degrees.get(spec.statistic, 0.0)
        for spec, value in subject.read(shown).items()
    }
    found = subject.read(larger)
    for spec, value in expected.items():
        if spec.statistic in subject.unscaled:
            continue
        small = subject.small * factor ** subject.degrees.get(spec.statistic, 0.0)
        near = pytest.approx(value, rel=tolerance(subject, spec, value), abs=small, nan_ok=True)
        assert found[spec] == near, spec.key


@having("shifted")
@few
@given(count=blocks, seed=seeds, offset=st.floats(-60, 60))
def test_a_number_added_to_all_logits_of_a_row_changes_only_what_is_about_their_size(
    subject: Subject, count: int, seed: int, offset: float
) -> None:
    shown = subject.draw(count * subject.block, generator(seed))
    for name in subject.shifted:  # rounded first, so that the sum is exact
        shown[name] = (shown[name] * 256).round() / 256
    offset = round(offset * 256) / 256
    moved = {name: x + offset if name in subject.shifted else x for name, x in shown.items()}
    same(subject.read(moved), subject.read(shown), subject, subject.unshifted)


@having("halved")
@few
@given(count=blocks, seed=seeds, dtype=st.sampled_from([torch.bfloat16, torch.float16]))
def test_half_precision_reads_what_the_same_numbers_read_in_float32(
    subject: Subject, count: int, seed: int, dtype: torch.dtype
) -> None:
    shown = subject.draw(count * subject.block, generator(seed))
    half = {name: x.to(dtype) if name in subject.halved else x for name, x in shown.items()}
    whole = {name: x.float() if name in subject.halved else x for name, x in half.items()}
    same(subject.read(half), subject.read(whole), subject, subject.rounded)
