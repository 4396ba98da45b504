"""What stands in for torch's functions: it looks like them, goes when the last run does, and survives what fails."""

from __future__ import annotations

import gc
import inspect
import logging
import threading
import weakref

import pytest
import torch
from tests.sdk.attention.watching import (
    MEDIAN,
    ORIGINAL,
    Recorded,
    expected,
    train,
)
from tests.zoo import attending as zoo
from torch import Tensor
from torch.nn import functional

from foreshock.guard import faults
from foreshock.measure.probes import attention_calls
from foreshock.measure.statistics import attention as statistics

torch.set_num_threads(1)


def test_what_stands_in_looks_like_the_original(recorded: Recorded) -> None:
    recorded.watch(zoo.Stack())
    ours = functional.scaled_dot_product_attention
    assert ours is not ORIGINAL
    assert zoo.fused is ours  # the name in the module's own file
    assert (ours.__name__, ours.__doc__) == (ORIGINAL.__name__, ORIGINAL.__doc__)
    assert inspect.unwrap(ours) is ORIGINAL
    with pytest.raises(TypeError, match=r"missing|argument"):
        ours(torch.randn(1, 2, 3, 4))
    with pytest.raises(RuntimeError, match=r"size|shape|match"):
        ours(torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 5), torch.randn(1, 2, 3, 5))


def test_the_last_of_several_runs_puts_torch_back() -> None:
    first, second = Recorded(), Recorded()
    model = zoo.Stack()
    first.watch(model)
    second.watch(model)
    second.watch(zoo.Stack())
    ours = functional.scaled_dot_product_attention
    first.instruments.close(0)
    first.instruments.close(0)
    assert functional.scaled_dot_product_attention is ours
    train(model)
    assert MEDIAN.format("layers.0") in second.step()
    second.instruments.close(0)
    assert functional.scaled_dot_product_attention is ORIGINAL


def test_somebody_else_s_function_put_over_ours_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded()
    recorded.watch(zoo.Stack())
    ours = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = theirs = lambda *args, **kwargs: ours(*args, **kwargs)
    try:
        recorded.instruments.close(0)
        assert functional.scaled_dot_product_attention is theirs
        tensors = torch.randn(3, 1, 2, 5, 4).unbind(0)
        assert torch.equal(theirs(*tensors), ORIGINAL(*tensors))
    finally:
        functional.scaled_dot_product_attention = ORIGINAL


def test_a_watched_model_can_be_forgotten(recorded: Recorded) -> None:
    model = zoo.Stack()
    recorded.watch(model)
    train(model)
    recorded.step()
    alive = weakref.ref(model.layers[0])
    del model
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("fails", ["before", "after"])
@pytest.mark.parametrize("compiled", [False, True])
def test_an_exception_in_attention_leaves_nothing_behind(
    fails: str, compiled: bool, recorded: Recorded
) -> None:
    model, other = zoo.Stack(zoo.Failing), zoo.Fused()
    recorded.watch(model)
    run = torch.compile(model, backend="aot_eager") if compiled else model
    model.layers[0].fails = fails
    with pytest.raises(RuntimeError, match="out of memory"):
        run(zoo.sequences())
    recorded.step()
    other(zoo.sequences())
    assert recorded.step() == {}
    model.layers[0].fails = ""
    train(run)
    assert {MEDIAN.format("layers.0"), MEDIAN.format("layers.1")} <= set(recorded.step())


def test_a_graph_that_died_between_two_ops_is_recovered_from(recorded: Recorded) -> None:
    model = zoo.Stack()
    recorded.watch(model)
    first, second = (module._forward_pre_hooks.popitem()[1].ticket for module in model.layers)
    q, k = torch.randn(2, 1, 2, 5, 4).unbind(0)
    chain = attention_calls.chain

    def died_in(ticket: Tensor) -> None:
        attention_calls.enter(ticket, chain)

    died_in(first)
    attention_calls.enter(second, chain)  # the next graph enters another layer, and then the first again
    attention_calls.leave(chain)
    attention_calls.enter(first, chain)
    attention_calls.attend(q, k, None, True, None, chain, True)
    attention_calls.leave(chain)
    attention_calls.attend(q, k, None, True, None, chain, True)  # outside of any
    values = recorded.step()
    assert MEDIAN.format("layers.0") in values
    assert MEDIAN.format("layers.1") not in values
    died_in(second)
    train(zoo.Fused())  # eager code is in no graph
    assert recorded.step() == {}
    attention_calls.leave(chain)


def test_threads_do_not_take_each_other_s_attention(recorded: Recorded) -> None:
    barrier = threading.Barrier(2)
    models = [zoo.Waiting(barrier) for _ in range(2)]
    inputs = [zoo.sequences(2), 4 * zoo.sequences(2)]
    for model in models:
        recorded.watch(model)
    threads = [threading.Thread(target=model, args=(x,)) for model, x in zip(models, inputs, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = recorded.step()
    for model, x, place in zip(models, inputs, ("model", "model2.model"), strict=True):
        reference = expected(model, x, place, causal=True)
        assert {key: values[key] for key in reference} == pytest.approx(reference, rel=1e-4, abs=1e-6)


def test_our_own_fault_does_not_reach_the_training(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("FORESHOCK_STRICT")
    model = zoo.Stack(layers=1)
    recorded.watch(model)

    def broken(*_: object, **__: object) -> Tensor:
        raise ValueError("ours")

    monkeypatch.setattr(statistics, "of_queries", broken)
    before = sum(faults().values())
    with caplog.at_level(logging.WARNING, logger="foreshock"):
        for _ in range(2):
            train(model)
            recorded.step()
    assert sum(faults().values()) == before + 1  # a place speaks its fault once, and is left alone
    assert len([record for record in caplog.records if "our fault" in record.getMessage()]) == 1
