"""However sets of names alternate, each series keeps its order, and the number of frames stays bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock.losses import Losses
from foreshock.record.blocks import LONGEST_NAME, NAMES, SETS, Groups, HostFrames
from foreshock.series import FrameSpec, SeriesSpec


def split(frames: HostFrames, **logged: object) -> dict[str, float]:
    return {
        spec.key: float(value)
        for frame, values, absent in frames.split(logged)
        for position, (spec, value) in enumerate(zip(frame.series, values, strict=True))
        if absent is None or not absent[position]
    }


def test_the_order_of_names_makes_no_new_frame() -> None:
    frames = HostFrames(Losses(), ())
    (first, values, _), (second, swapped, _) = (
        *frames.split({"a": 1, "b": 2}),
        *frames.split({"b": 2, "a": 1}),
    )
    assert first is second
    assert values.tolist() == swapped.tolist() == [1.0, 2.0]


def test_ever_new_sets_of_names_end_as_a_frame_per_name() -> None:
    frames = HostFrames(Losses(), ())
    made = {frame for step in range(1000) for frame, *_ in frames.split({"loss": 1.0, f"n{step % 200}": 2.0})}
    assert len(made) <= SETS + 201
    assert split(frames, loss=3.0, n1=4.0) == {"loss": 3.0, "n1": 4.0}


def test_endless_new_names_are_cut_off_and_counted() -> None:
    losses = Losses()
    frames = HostFrames(losses, ())
    for step in range(NAMES + 5):
        list(frames.split({f"loss_{step}": 1.0}))
    assert losses.by_reason() == {"too many names": 5}
    assert split(frames, loss_1=2.0) == {"loss_1": 2.0}


@pytest.mark.parametrize(
    "name", ["", "x" * (LONGEST_NAME + 1), "a\nb", "half\ud800", "zero\0", "loss{place=x}"]
)
def test_a_name_that_the_contract_cannot_carry_is_counted_and_the_others_are_kept(name: str) -> None:
    losses = Losses()
    assert split(HostFrames(losses, ()), **{name: 1.0, "fine": 2.0}) == {"fine": 2.0}
    assert losses.by_reason() == {"name not allowed": 1}


def test_an_integer_beyond_float64_is_absent_and_counted() -> None:
    losses = Losses()
    assert split(HostFrames(losses, ()), huge=10**400, loss=0.5) == {"loss": 0.5}
    assert losses.by_reason() == {"not a float64": 1}


def test_a_rank_labels_its_series() -> None:
    assert list(split(HostFrames(Losses(), (("rank", "3"),)), loss=1.0)) == ["loss{rank=3}"]


@given(st.lists(st.tuples(st.sets(st.sampled_from("abcd"), min_size=1), st.integers(-1, 2)), max_size=40))
def test_every_series_keeps_its_order_and_groups_never_step_back(logged: list[tuple[set[str], int]]) -> None:
    frames, groups, numbers, step = HostFrames(Losses(), ()), Groups(), {}, 100
    expected: dict[str, list[tuple[int, float]]] = {}
    for value, (names, advance) in enumerate(logged):
        step += advance
        for frame, values, absent in frames.split(dict.fromkeys(names, float(value))):
            number = numbers.setdefault(frame, len(numbers) + 1)
            groups.add(number, step, 0.0, values, absent, alone=len(frame.series) == 1)
        for name in names:
            expected.setdefault(name, []).append((step, float(value)))
    by_number = {number: frame for frame, number in numbers.items()}
    found: dict[str, list[tuple[int, float]]] = {}
    for rows in groups.take():
        assert (np.diff(rows.steps) >= 0).all()
        for position, spec in enumerate(by_number[rows.frame].series):
            for index, at in enumerate(rows.steps):
                found.setdefault(spec.key, []).append((int(at), float(rows.values[index, position])))
    assert found == expected


def test_equal_frames_stand_together() -> None:
    groups = Groups()
    for step in range(100):
        groups.add(1, step, 0.0, np.zeros(3), None, alone=False)
    (rows,) = groups.take()
    assert (rows.readings, groups.readings, groups.bytes) == (300, 0, 0)


def test_a_logged_name_that_is_a_statistic_s_too_is_told_apart_from_then_on() -> None:
    frames = HostFrames(Losses(), (("rank", "3"),))
    assert list(split(frames, gradient_norm=1.0, loss=2.0)) == ["gradient_norm{rank=3}", "loss{rank=3}"]
    own = SeriesSpec("gradient_norm", "optimiser", labels=(("rank", "3"),))
    placed = SeriesSpec("loss", "optimiser", place="head", labels=(("rank", "3"),))
    frames.claim(FrameSpec((own, placed)))
    assert list(split(frames, gradient_norm=1.0, loss=2.0)) == [
        "gradient_norm{rank=3,source=log}",
        "loss{rank=3}",
    ]
