"""Exports, scripts, transformations and copies of a watched model do not carry the monitor."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from tests.sdk.attention.watching import (
    Recorded,
)
from tests.zoo import attending as zoo
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

torch.set_num_threads(1)


@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_model_does_not_carry_the_monitor(strict: bool, recorded: Recorded) -> None:
    for make in (zoo.Fused, zoo.Scores):
        model = zoo.Stack(make).eval()
        recorded.watch(model)
        program = torch.export.export(model, (zoo.sequences(),), strict=strict)
        assert "foreshock" not in str(program.graph)


def attends(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(q, k, v) + torch.softmax(q, -1) + functional.softmax(k, -1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripts_and_traces_made_meanwhile_hold_the_originals(recorded: Recorded) -> None:
    tensors = torch.randn(3, 1, 2, 5, 5).unbind(0)
    plain = attends(*tensors)
    model = zoo.Stack()
    recorded.watch(model)
    scripted = torch.jit.script(attends)
    assert torch.equal(scripted(*tensors), plain)
    assert "aten::scaled_dot_product_attention" in str(scripted.graph)
    traced = torch.jit.trace(model.eval(), zoo.sequences())
    assert "foreshock::" not in str(traced.inlined_graph)
    assert torch.equal(traced(zoo.sequences()), model(zoo.sequences()))


def test_transformations_pass_through_unseen(recorded: Recorded) -> None:
    model = zoo.Stack(layers=1)
    recorded.watch(model)
    x = zoo.sequences(2)
    parameters = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(model, parameters, (x.unsqueeze(0),)).square().mean()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    assert all(part.shape[0] == 2 for part in each.values())
    graph = make_fx(lambda x: model(x))(x)
    assert "foreshock" not in str(graph.code)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        model(torch.empty(2, 7, zoo.WIDTH))
    assert recorded.step() == {}


def test_a_copy_and_a_pickle_of_a_watched_model_are_not_watched(recorded: Recorded) -> None:
    model = zoo.Stack()
    recorded.watch(model)
    stored = io.BytesIO()
    torch.save(model.layers, stored)
    stored.seek(0)
    model.layers[0].function = functional.scaled_dot_product_attention  # kept by a module while it is ours
    twins = [copy.deepcopy(model.layers), torch.load(stored, weights_only=False)]
    assert pickle.loads(pickle.dumps(model.layers[0].function)) is functional.scaled_dot_product_attention
    for twin in twins:
        twin[0](zoo.sequences())
    assert recorded.step() == {}
