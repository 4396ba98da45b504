"""What is read of attention, however a model writes it, and of which calls."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tests.sdk.attention.watching import (
    LEVELS,
    MEDIAN,
    UNIFORM,
    Recorded,
    expected,
    train,
)
from tests.zoo import attending as zoo
from tests.zoo import huggingface, transformers
from torch import Tensor
from torch.nn import functional

from foreshock.measure.statistics import attention as statistics

torch.set_num_threads(1)


DISTANCE = -0.5 * (torch.arange(zoo.TOKENS) - torch.arange(zoo.TOKENS).unsqueeze(1)).abs().float()
WAYS: dict[str, tuple[Callable[[], zoo.Attention], dict[str, object]]] = {
    "torch's function": (zoo.Fused, {"causal": True}),
    "imported by name": (zoo.Renamed, {"scale": 0.3}),
    "shared keys": (zoo.Grouped, {"causal": True}),
    "bias, in a helper": (zoo.Masked, {"mask": DISTANCE}),
    "softmax as a function": (zoo.Scores, {"causal": True}),
    "softmax as a method": (zoo.ScoresByMethod, {"causal": True}),
    "softmax, heads stacked": (zoo.ScoresStacked, {"causal": True}),
    "softmax as a module": (zoo.ScoresByModule, {"causal": True}),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_it_reads_what_the_projections_say(way: str, recorded: Recorded) -> None:
    make, options = WAYS[way]
    model = zoo.Stack(make)
    recorded.watch(model)
    x = zoo.sequences(2)
    train(model, x)
    values = recorded.step()
    both = {
        **expected(model.layers[0], x, "layers.0", **options),
        **expected(model.layers[1], x + model.layers[0](x).detach(), "layers.1", **options),
    }
    if "softmax" in way:  # no queries and keys: no bound
        both = {key: value for key, value in both.items() if "bound" not in key}
    assert values == pytest.approx(both, rel=1e-4, abs=1e-6)


def test_torch_s_own_module_is_read_with_and_without_its_weights(recorded: Recorded) -> None:
    model = zoo.Stack(zoo.WithWeights, layers=1)
    recorded.watch(model)
    x = zoo.sequences(2)
    train(model, x)
    with_weights = recorded.step()
    mixer = model.layers[0].mixer
    mixer(x, x, x, need_weights=False)
    without = recorded.step()
    assert len(with_weights) == len(without) == len(statistics.series("", zoo.HEADS, bounded=False))
    assert with_weights == pytest.approx(without, rel=1e-4, abs=1e-6)
    weights = mixer(x, x, x, average_attn_weights=False)[1].detach()
    entropy = -(weights * weights.log()).sum(-1).mean()
    recorded.step()
    assert with_weights["attention_entropy{place=layers.0.mixer}"] == pytest.approx(float(entropy), rel=1e-4)


def test_all_kinds_of_models_are_read_at_every_place(recorded: Recorded) -> None:
    for number, make in enumerate(
        (
            transformers.NanoGPT,
            transformers.CausalLM,
            transformers.Encoder,
            huggingface.LlamaForCausalLM,
            huggingface.GPT2WithValueHead,
            huggingface.BertForSequenceClassification,
        ),
        1,
    ):
        model = make()
        table = recorded.watch(model)
        assert len(table.rows) == 2
        model(transformers.tokens())
        values = recorded.step()
        for row in table.rows:
            assert row.place.startswith(f"model{number}.") or number == 1
            assert 0 < values[MEDIAN.format(row.place)] <= 1
            assert "head=0" in " ".join(values)


def test_many_tokens_are_sampled_with_random_numbers_of_our_own(recorded: Recorded) -> None:
    model = zoo.Stack()
    recorded.watch(model)
    before = torch.get_rng_state()
    train(model, zoo.sequences(5, 200))
    values = recorded.step()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(math.isfinite(value) for value in values.values())


def test_the_cadence_is_kept() -> None:
    recorded = Recorded(every=3)
    model = zoo.Stack()
    recorded.watch(model)
    steps = []
    for step in range(7):
        train(model)
        if recorded.step():
            steps.append(step)
    recorded.instruments.close(0)
    assert steps == [0, 3, 6]


def test_a_module_called_twice_in_a_step_is_read_once(recorded: Recorded) -> None:
    model = zoo.Stack(layers=1)
    recorded.watch(model)
    x = zoo.sequences(2)
    for micro in (x, 3 * x):  # gradient accumulation
        train(model, micro)
    assert recorded.step() == pytest.approx(
        expected(model.layers[0], x, "layers.0", causal=True), rel=1e-4, abs=1e-6
    )


def test_generation_does_not_stand_for_training(recorded: Recorded) -> None:
    model = zoo.Stack(layers=1)
    recorded.watch(model)
    x = zoo.sequences(2)
    with torch.inference_mode():
        model(5 * x)
    values = recorded.step()  # nothing else has been seen yet
    assert values[MEDIAN.format("layers.0")] > 0
    with torch.no_grad():
        model(5 * x)
    train(model, x)
    once = recorded.step()
    assert once == pytest.approx(expected(model.layers[0], x, "layers.0", causal=True), rel=1e-4, abs=1e-6)
    with torch.no_grad():
        model(5 * x)
    assert recorded.step() == {}


def test_attention_outside_of_watched_modules_is_nobody_s(recorded: Recorded) -> None:
    watched, other = zoo.Stack(layers=1), zoo.Stack(zoo.Renamed, layers=1)
    recorded.watch(watched)
    train(other)
    functional.scaled_dot_product_attention(*torch.randn(3, 1, 2, 5, 4).unbind(0))
    torch.randn(2, 3, 4).softmax(-1)
    assert recorded.step() == {}


def test_a_step_of_generation_with_one_query_is_read(recorded: Recorded) -> None:
    class Cross(zoo.Attention):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.heads(x[:, :1], x)
            return self.joined(functional.scaled_dot_product_attention(q, k, v))

    model = Cross()
    recorded.watch(model)
    x = zoo.sequences(2)
    model(x)
    with torch.no_grad():
        q, k, _ = model.heads(x[:, :1], x)
        found = statistics.layer(statistics.of_queries(q, k, UNIFORM), zoo.HEADS, LEVELS)
    assert list(recorded.step().values()) == pytest.approx(found.tolist(), rel=1e-4, abs=1e-6)
