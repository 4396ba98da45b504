"""Matrices on their way to the host: whose turn it is, and what bounds them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from foreshock.measure import spectra as module
from foreshock.measure.collector import HostCollector
from foreshock.measure.finish import StepRow
from foreshock.measure.problems.gram import Gram
from foreshock.measure.site import Clock
from foreshock.measure.spectra import Source, Spectra
from foreshock.measure.statistics import representation, spectrum
from foreshock.measure.statistics.rows import prepare
from foreshock.series import FrameSpec

torch.set_num_threads(1)


class World:
    """A clock to advance, and places that offer a matrix of random rows at each step."""

    def __init__(self, places: int, side: int = 8) -> None:
        self.clock = Clock({"activations": 1})
        self.seconds = 0.0
        self.spectra = Spectra(self.clock, lambda device: HostCollector(), now=lambda: self.seconds)
        x = torch.randn(50, side, generator=torch.Generator().manual_seed(0))
        _, self.product = spectrum.gram(prepare(x, torch.ones(50, dtype=torch.bool)), x.dtype)
        self.frames: dict[Source, FrameSpec] = {}
        self.sources = [self.place(f"layer.{index}") for index in range(places)]
        self.step = 0

    def place(self, name: str) -> Source:
        source = self.spectra.source("activations")
        self.frames[source] = FrameSpec(tuple(representation.finished_series(name)))
        return source

    def offer(self, source: Source, payload: Tensor | None = None, frame: FrameSpec | None = None) -> bool:
        def made() -> Tensor:
            return self.product.payload() if payload is None else payload

        return self.spectra.offer(source, self.product.problem, frame or self.frames[source], made)

    def close_step(self) -> list[StepRow]:
        for source in self.sources:
            self.offer(source)
        self.clock.advance()
        self.spectra.close_step(self.step, 0.0)
        self.step += 1
        return self.spectra.arrived()


def places(rows: Sequence[StepRow]) -> list[str]:
    return [row.frame.series[0].place for row in rows]


def test_each_matrix_becomes_a_row_that_its_finish_completes() -> None:
    world = World(2)
    rows = world.close_step()
    assert places(rows) == ["layer.0", "layer.1"]
    for row in rows:
        assert row.step == 0
        assert np.isnan(row.values).all()
        values = row.completed()
        assert 1 < values[0] <= 8
        assert row.values is not values
        assert (
            values[2] == math.log(values[0]) / math.log(8)
            or abs(values[2] - math.log(values[0]) / math.log(8)) < 1e-6
        )


def test_when_not_all_fit_they_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(5)
    monkeypatch.setattr(module, "PACKET", 2 * world.product.problem.size + 1)
    world.close_step()  # the first turn was given before the room was changed
    seen = [places(world.close_step()) for _ in range(10)]
    assert all(len(step) == 2 for step in seen)
    counts = [sum(step.count(f"layer.{index}") for step in seen) for index in range(5)]
    assert max(counts) - min(counts) <= 1
    assert world.spectra.skipped > 0


def test_a_guest_gets_the_room_that_is_left_and_takes_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(2)
    size = world.product.problem.size
    monkeypatch.setattr(module, "PACKET", 3 * size)
    world.close_step()
    guest = world.spectra.source("activations", guest=True)
    world.frames[guest] = FrameSpec(tuple(representation.finished_series("guest")))
    for step in range(3):
        for source in world.sources:
            assert world.offer(source)
        assert world.offer(guest)
        assert not world.offer(world.spectra.source("activations", guest=True), frame=world.frames[guest])
        world.clock.advance()
        world.spectra.close_step(step, 0.0)
        assert places(world.spectra.arrived()) == ["layer.0", "layer.1", "guest"]


def test_a_payload_is_not_made_where_it_is_not_sent() -> None:
    world = World(1)
    made = []

    def payload() -> Tensor:
        made.append(1)
        return world.product.payload()

    (source,) = world.sources
    world.spectra._chosen.clear()
    frame = world.frames[source]
    assert not world.spectra.offer(source, world.product.problem, frame, payload)
    assert made == []


def test_rows_that_nobody_finishes_stop_new_ones_and_letting_go_of_them_starts_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(1)
    monkeypatch.setattr(module, "BACKLOG", 3 * world.product.problem.size)
    kept = [row for _ in range(20) for row in world.close_step()]
    assert len(kept) == 5  # four waiting exceed the bound; the fifth was chosen before they did
    kept.clear()
    world.close_step()
    assert world.close_step()


def test_a_worker_that_needs_too_much_of_the_time_gets_fewer() -> None:
    world = World(1)
    (row,) = world.close_step()
    row.completed()
    world.spectra._account(module.GRACE + 1.0)
    world.close_step()
    assert world.close_step() == []
    world.seconds = (module.GRACE + 2.0) / module.SHARE
    world.close_step()
    assert world.close_step()


def test_a_matrix_offered_twice_in_a_step_is_sent_once_the_later_one() -> None:
    world = World(1)
    world.offer(world.sources[0], torch.zeros_like(world.product.payload()))
    (row,) = world.close_step()
    assert row.completed()[0] > 1


def test_a_finished_matrix_is_let_go() -> None:
    world = World(1)
    (row,) = world.close_step()
    (work,) = row.pending
    row.completed()
    assert work.payload.size == 0  # type: ignore[attr-defined]


def test_a_payload_has_the_size_that_its_shape_says() -> None:
    for rows, width in ((50, 8), (5, 8), (8, 8)):
        x: Tensor = torch.randn(rows, width, generator=torch.Generator().manual_seed(0))
        _, product = spectrum.gram(prepare(x, torch.ones(rows, dtype=torch.bool)), x.dtype)
        assert len(product.payload()) == product.problem.size
        assert product.problem == Gram(rows, width, centred=True, rounding=2.0**-25)
