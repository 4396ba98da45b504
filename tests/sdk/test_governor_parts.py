"""What the governor reads and what obeys it: the clock around our work, the device's stopwatch, the count of memory, a run's settings."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from tests.zoo import feedforward, transformers
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

import foreshock
from foreshock.measure.collector import DeviceRing
from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments
from foreshock.measure.memory import held
from foreshock.measure.shown import features
from foreshock.measure.site import Clock
from foreshock.measure.spending import Spending
from foreshock.measure.stopwatch import SPANS, Stopwatch
from foreshock.measure.turns import Turn
from foreshock.testing import MemoryTransport, recording

torch.set_num_threads(1)


class Hand:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def turn(kind: str = "activations") -> Turn:
    return Turn(kind, 1, 0)


# -- the clock around our work ----------------------------------------------------------------------------------------


def test_of_nested_blocks_the_outermost_counts_and_a_turn_pays_for_what_prepared_it() -> None:
    hand, one, other = Hand(), turn(), turn()
    spending = Spending(hand)
    with spending:
        hand.now += 1.0  # prepares
        with spending:
            spending.bill(one)
            hand.now += 2.0
        spending.bill(other)
        hand.now += 4.0
    assert (spending.seconds, one.spent, other.spent) == (7.0, 3.0, 4.0)
    assert spending.billed == 7.0


def test_a_block_that_nobody_pays_for_and_a_bill_outside_a_block() -> None:
    hand, one = Hand(), turn()
    spending = Spending(hand)
    with spending:
        hand.now += 1.0
    spending.bill(one)
    spending.settle(one)
    hand.now += 1.0
    assert (spending.seconds, spending.billed, one.spent) == (1.0, 0.0, 0.0)


def test_who_records_at_the_end_pays_for_what_led_there() -> None:
    """As after an optimizer's step: two rows are written one after the other, in one block."""
    hand, one, other = Hand(), turn(), turn()
    spending = Spending(hand)
    with spending:
        for who, seconds in ((one, 1.0), (other, 5.0)):
            hand.now += seconds
            spending.settle(who)
        hand.now += 0.5
    assert (one.spent, other.spent) == (1.0, 5.5)


def test_a_block_that_fails_counts_as_well() -> None:
    hand, one = Hand(), turn()
    spending = Spending(hand)

    def fails() -> None:
        with spending:
            spending.bill(one)
            hand.now += 1.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert (spending.seconds, one.spent) == (1.0, 1.0)


# -- the device's stopwatch -------------------------------------------------------------------------------------------


@dataclass
class Event:
    """A mark on a stream; it passes when the test says so."""

    device: Device
    at: float = 0.0
    passed: bool = False

    def record(self, stream: str) -> None:
        assert stream == "main"
        assert not self.device.is_capturing
        self.at, self.passed = self.device.time, False
        self.device.recorded.append(self)

    def query(self) -> bool:
        assert not self.device.is_capturing
        return self.passed

    def elapsed_time(self, end: Event) -> float:
        assert self.passed
        assert end.passed
        return 1e3 * (end.at - self.at)


@dataclass
class Device:
    """Primitives of a device whose time the test moves."""

    time: float = 0.0
    is_capturing: bool = False
    recorded: list[Event] = field(default_factory=list)
    made: int = 0

    def timed_event(self) -> Event:
        self.made += 1
        return Event(self)

    def main_stream(self) -> str:
        return "main"

    def capturing(self) -> bool:
        return self.is_capturing

    def catch_up(self) -> None:
        for event in self.recorded:
            event.passed = True
        self.recorded.clear()


def test_what_the_device_took_is_read_late_and_never_awaited() -> None:
    device, one = Device(), turn()
    stopwatch = Stopwatch(device)
    span = stopwatch.begin()
    assert span is not None
    device.time += 0.010
    stopwatch.end(span, 0.004, one)
    assert list(stopwatch.passed()) == []
    device.catch_up()
    ((whose, seconds),) = stopwatch.passed()
    assert whose is one
    assert seconds == pytest.approx(0.006)  # beyond the 4 ms that the host was seen to take
    assert list(stopwatch.passed()) == []


def test_work_that_the_device_does_while_the_host_launches_it_costs_nothing_more() -> None:
    device = Device()
    stopwatch = Stopwatch(device)
    span = stopwatch.begin()
    assert span is not None
    device.time += 0.001
    stopwatch.end(span, 0.005, None)
    device.catch_up()
    assert list(stopwatch.passed()) == [(None, 0.0)]


def test_a_device_that_is_far_behind_costs_neither_memory_nor_time() -> None:
    device = Device()
    stopwatch = Stopwatch(device)
    for _ in range(3 * SPANS):
        span = stopwatch.begin()
        if span is not None:
            stopwatch.end(span, 0.0, None)
        assert list(stopwatch.passed()) == []
    assert device.made == 2 * SPANS
    assert stopwatch.untimed == 2 * SPANS
    device.catch_up()
    assert len(list(stopwatch.passed())) == SPANS
    for _ in range(10):  # pairs are used again
        span = stopwatch.begin()
        assert span is not None
        stopwatch.end(span, 0.0, None)
    assert device.made == 2 * SPANS


def test_during_a_capture_no_event_is_recorded_or_asked() -> None:
    device = Device()
    stopwatch = Stopwatch(device)
    span = stopwatch.begin()
    assert span is not None
    device.is_capturing = True
    stopwatch.end(span, 0.0, None)
    assert stopwatch.begin() is None
    assert list(stopwatch.passed()) == []
    device.is_capturing = False
    assert stopwatch.begin() is span


def test_the_clock_adds_up_what_host_and_device_took_and_reprices_the_turn() -> None:
    from foreshock.measure.governor import Governor

    device = Device()
    clock = Clock({"activations": 1}, Governor(1.0))
    clock.spending.stopwatch = Stopwatch(device)
    one = clock.turns.of("activations", 0)
    for _ in range(3):
        with clock.spending:
            clock.spending.bill(one)
            device.time += 0.25
        clock.advance()
        device.catch_up()
    clock.advance()
    assert one.late == pytest.approx(0.25, rel=0.1)
    assert clock.seconds == pytest.approx(3 * 0.25, rel=0.1)


# -- memory -----------------------------------------------------------------------------------------------------------


class Holder:
    """Ours, as far as the count can tell."""

    def __init__(self, **held: Any) -> None:
        vars(self).update(held)


Holder.__module__ = "foreshock.measure.statistics.example"


def test_each_storage_counts_once_wherever_it_is_held() -> None:
    tensor, array = torch.zeros(1000), np.zeros(500, np.float32)
    holder = Holder(a=tensor, b=[tensor[:10], {"c": tensor.view(10, 100)}], d=(array, array[3:]))
    holder.itself = holder
    assert held(holder) == 4000 + 2000
    assert held(holder, beside=[holder]) == 0


def test_what_functions_close_over_counts_and_what_is_the_users_does_not() -> None:
    state, model = torch.zeros(100), nn.Linear(50, 50)

    def closes_over() -> Tensor:
        return state

    assert held(Holder(f=closes_over)) == 400
    assert held(Holder(f=functools.partial(print, state))) == 400
    assert held(Holder(model=model, weight=model.weight, hook=model.forward)) == 0


def test_the_buffers_of_a_ring_are_counted() -> None:
    from tests.sdk.test_collector import SlowDevice

    device = SlowDevice()
    ring: DeviceRing[int] = DeviceRing(device, slots=4)
    ring.send([torch.zeros(700)], 1, readings=700)
    assert held(ring) == 4 * (device.values)


def test_a_run_says_how_much_memory_it_holds_and_it_stays_bounded() -> None:
    instruments = Instruments(every={"features": 1}, on_row=lambda row: None)
    sizes = []
    for step in range(40):
        features.show(instruments.sites, "h", torch.randn(200, 64))
        instruments._count_at = 0.0
        instruments.step(step, 0.0)
        sizes.append(instruments.memory)
    instruments.close(0)
    assert sizes[5] > 64 * 64 * 4  # the Gram matrix on its way
    assert sizes[-1] < 40 * 64 * 64 * 4


# -- a run ------------------------------------------------------------------------------------------------------------


def train(instruments: Instruments, model: nn.Module, steps: int, inputs: Tensor) -> None:
    for step in range(steps):
        model(inputs).square().mean().backward()
        instruments.step(step, 0.0)


def test_a_small_budget_thins_out_what_is_dear_and_says_how_much_it_left_out() -> None:
    rows: list[StepRow] = []
    instruments = Instruments(every={"activations": 1}, budget=0.5, on_row=rows.append)
    model = feedforward.mlp()
    instruments.watch(model, families=["representation"])
    train(instruments, model, 150, feedforward.features())
    instruments.close(1.0)
    read = {row.step for row in rows}
    assert 0 in read  # something is seen at once
    assert len(read) < 75
    assert instruments.skipped > 2 * 75  # of both layers
    assert instruments.level == 1


def test_the_same_run_without_a_budget_leaves_nothing_out() -> None:
    rows: list[StepRow] = []
    instruments = Instruments(every={"activations": 1}, budget=0.0, on_row=rows.append)
    model = feedforward.mlp()
    instruments.watch(model, families=["representation"])
    train(instruments, model, 30, feedforward.features())
    instruments.close(1.0)
    assert {row.step for row in rows} == set(range(30))
    assert instruments.governor is None


def test_records_are_chosen_inside_the_op_so_a_compiled_graph_stays_one() -> None:
    torch._dynamo.reset()
    instruments = Instruments(every={"activations": 1}, budget=30.0, on_row=lambda row: None)
    model = transformers.NanoGPT(2)
    instruments.watch(model)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    opened: set[tuple[bool, ...]] = set()
    for step in range(1000):  # how soon it chooses depends on the machine; that it does, not
        compiled(transformers.tokens()).square().mean().backward()
        instruments.step(step, 0.0)
        opened.add(tuple(turn.open for turn in instruments.sites.clock.turns))
        if step > 20 and len(opened) > 1:
            break
    instruments.close(0)
    assert len(opened) > 1
    assert counter.frame_count == 1
    torch._dynamo.reset()


def test_a_pause_records_nothing_but_what_is_logged_and_ends_at_once() -> None:
    with recording() as recorded:
        run = recorded.run
        run.pause()  # before anything was measured
        for step in range(6):
            if step == 2:
                run.resume()
            if step == 4:
                run.pause()
            run.observe.features("h", torch.randn(20, 4))
            run.log(loss=torch.tensor(1.0 * step))
            run.step()
            recorded.settle()
        assert recorded.columns("n_eff{place=h}").steps.tolist() == [2, 3]
        assert recorded.columns("loss").values.tolist() == [0, 1, 2, 3, 4, 5]
        levels = recorded.columns("foreshock_level")
        assert dict(zip(levels.steps.tolist(), levels.values.tolist(), strict=True)) == {
            0: -1.0, 1: -1.0, 2: 1.0, 3: 1.0, 4: -1.0, 5: -1.0,
        }  # fmt: skip
        assert recorded.columns("foreshock_memory").values[-1] > 0
        assert "foreshock_skipped" in recorded.series()
    run.pause()  # ended: nothing happens
    run.resume()


def test_a_run_has_the_default_budget_unless_it_is_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for environment, argument, expected in (
        (None, None, 3.0),
        ("2.5", None, 2.5),
        ("2.5", 7, 7.0),
        ("0", None, None),
    ):
        if environment is not None:
            monkeypatch.setenv("FORESHOCK_BUDGET", environment)
        run = foreshock.init(budget=argument, transport=MemoryTransport(), flush_seconds=0)
        assert run.session is not None
        governor = run.session.instruments().governor
        assert (None if governor is None else governor.budget) == expected
        run.finish()


def test_a_tensor_that_is_logged_is_paid_for_once() -> None:
    with recording() as recorded:
        run, loss = recorded.run, torch.tensor(1.0)
        for _ in range(300):
            run.log(loss=loss)
            run.step()
        cost = run.cost
    assert 0 < cost["training_seconds"] < cost["wall_seconds"]


def test_records_that_come_and_go_leave_training_as_it_is_bit_for_bit() -> None:
    def trained(budget: float | None) -> tuple[list[Tensor], Tensor]:
        torch.manual_seed(0)
        model = feedforward.mlp(0.2).train()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        instruments = None
        if budget is not None:
            instruments = Instruments(every={"activations": 1}, budget=budget, on_row=lambda row: None)
            instruments.watch(model, optimizer=optimizer)
        for step in range(30):
            optimizer.zero_grad()
            model(feedforward.features()).square().mean().backward()
            optimizer.step()
            if instruments is not None:
                instruments.step(step, 0.0)
        if instruments is not None:
            instruments.close(0)
        return [parameter.detach().clone() for parameter in model.parameters()], torch.get_rng_state()

    bare, state = trained(None)
    for budget in (1.0, 50.0):
        weights, after = trained(budget)
        assert all(torch.equal(a, b) for a, b in zip(weights, bare, strict=True))
        assert torch.equal(after, state)
