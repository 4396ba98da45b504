"""What sites hold becomes rows: one copy a step, one frame per set of sites, and never more descriptions than sites are worth."""

from __future__ import annotations

import itertools

import pytest
import torch

from foreshock.measure import assembly as module
from foreshock.measure.assembly import Assembly
from foreshock.measure.collector import HostCollector
from foreshock.measure.finish import StepRow
from foreshock.measure.site import Clock, Site
from foreshock.series import FrameSpec, SeriesSpec

CPU = torch.device("cpu")


def sites(count: int, series: int = 2, kind: str = "policy") -> list[Site]:
    clock = Clock({kind: 1})
    made = []
    for index in range(count):
        specs = [SeriesSpec(f"s{number}", "x", place=str(index)) for number in range(series)]
        site = Site(str(index), kind, specs, lambda tensors: tensors[0], clock, CPU)
        site.index = index
        site.row.copy_(index + torch.arange(series) / 10)
        made.append(site)
    return made


def read(rows: list[StepRow]) -> dict[str, float]:
    return {
        spec.key: round(float(value), 3)
        for row in rows
        for spec, value in zip(row.frame.series, row.values, strict=True)
    }


def test_a_set_of_sites_is_one_frame_whatever_the_order_they_recorded_in() -> None:
    assembly, three = Assembly(), sites(3)
    assembly.send(reversed(three), 7, 1.5)
    (row,) = assembly.arrived()
    assert (row.step, row.time) == (7, 1.5)
    assert [spec.place for spec in row.frame.series] == ["0", "0", "1", "1", "2", "2"]
    assembly.send(three, 8, 2.5)
    assert assembly.arrived()[0].frame is row.frame


def test_sets_of_several_turns_share_the_frames_of_the_turns_until_they_come_again() -> None:
    assembly, six = Assembly(), sites(6, kind="features")  # a turn each
    described: set[FrameSpec] = set()
    alone = {}
    for step, some in enumerate(itertools.combinations(six, 3)):
        assembly.send(some, step, 0.0)
        rows = assembly.arrived()
        assert [row.frame.series[0].place for row in rows] == [site.place for site in some]
        alone.update({row.frame.series[0].place: row.frame for row in rows})
        described |= {row.frame for row in rows}
    assert len(described) == 6
    for step in range(3):
        assembly.send(reversed(six), step, 0.0)
        rows = assembly.arrived()
        assert read(rows) == pytest.approx(
            {f"s{n}{{place={i}}}": i + n / 10 for i in range(6) for n in range(2)}
        )
        assert len(rows) == (6 if step < 2 else 1)
    assembly.send(six[:1], 9, 0.0)
    assert [row.frame for row in assembly.arrived()] == [alone["0"]]


def test_rows_stay_what_they_were_when_the_sites_go_on() -> None:
    assembly, two = Assembly(), sites(2)
    assembly.send(two, 0, 0.0)
    two[0].row.fill_(99.0)
    assert read(assembly.arrived())["s0{place=0}"] == 0.0


@pytest.mark.parametrize("bound", ["FRAMES", "SERIES"])
def test_of_too_many_sets_each_site_is_a_frame_and_a_step_is_one_copy(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, bound, 4)
    sent: list[int] = []
    send = HostCollector.send
    monkeypatch.setattr(
        HostCollector, "send", lambda self, *given: sent.append(len(given[0])) or send(self, *given)
    )
    assembly, six = Assembly(), sites(6)
    frames = set()
    subsets = [some for size in (2, 3, 4) for some in itertools.combinations(six, size)]
    for step, some in enumerate(subsets):
        assembly.send(some, step, 0.0)
        rows = assembly.arrived()
        frames |= {row.frame for row in rows}
        expected = {f"s{n}{{place={site.index}}}": site.index + n / 10 for site in some for n in range(2)}
        assert read(rows) == pytest.approx(expected)
        assert {row.step for row in rows} == {step}
    assert sent == [len(some) for some in subsets]
    assert len(frames) <= 4 + 6


def test_what_a_device_cannot_take_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "new_collector", lambda device: HostCollector(most=2))
    assembly, two = Assembly(), sites(2)
    for step in range(3):
        assembly.send(two, step, 0.0)
    assert assembly.dropped == 4
    assert assembly.waiting() == 2
    assert [row.step for row in assembly.arrived()] == [0, 1]


def test_sites_of_one_name_stand_in_frames_of_their_own_and_nothing_is_lost() -> None:
    assembly, three = Assembly(), sites(3)
    twin = Site("0 again", "policy", three[0].specs, lambda tensors: tensors[0], three[0].clock, CPU)
    twin.index = 3
    twin.row.copy_(torch.tensor([8.0, 9.0]))
    assembly.send([*three, twin], 0, 0.0)
    rows = assembly.arrived()
    assert [len(row.frame.series) for row in rows] == [6, 2]
    for row in rows:
        keys = [spec.key for spec in row.frame.series]
        assert len(set(keys)) == len(keys)
    assert rows[1].values.tolist() == [8.0, 9.0]
    assembly.send([*three, twin], 1, 0.0)
    assert [row.frame for row in assembly.arrived()] == [row.frame for row in rows]
