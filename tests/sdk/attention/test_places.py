"""Which modules attend, and what the printed plan says of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.sdk.attention.watching import (
    ORIGINAL,
    Recorded,
    places,
    train,
)
from tests.zoo import attending as zoo
from tests.zoo import feedforward, huggingface, transformers
from torch import nn
from torch.nn import functional

from foreshock.measure.probes import attention
from foreshock.measure.probes.subject import Subject
from foreshock.measure.statistics import attention as statistics

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (transformers.NanoGPT, ["transformer.h.0.attn", "transformer.h.1.attn"]),
        (transformers.CausalLM, ["model.layers.0.self_attn", "model.layers.1.self_attn"]),
        (transformers.Encoder, ["encoder.layers.0.self_attn", "encoder.layers.1.self_attn"]),
        (huggingface.LlamaForCausalLM, ["model.layers.0.self_attn", "model.layers.1.self_attn"]),
        (huggingface.GPT2WithValueHead, ["transformer.h.0.attn", "transformer.h.1.attn"]),
        (
            huggingface.BertForSequenceClassification,
            ["bert.encoder.layer.0.attention.self", "bert.encoder.layer.1.attention.self"],
        ),
        (lambda: zoo.Stack(zoo.WithWeights), ["layers.0.mixer", "layers.1.mixer"]),
        (feedforward.mlp, []),
        (feedforward.ResNet, []),
    ],
)
def test_attention_is_found_by_its_parts_and_its_name(
    model: Callable[[], nn.Module], found: list[str]
) -> None:
    assert places(model()) == found


class AttentionNorm(nn.LayerNorm):
    """Does not attend, whatever it is called."""


class LinearAttention(nn.Module):
    """Given away by its name alone."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)


class AttentionBlock(nn.Module):
    """Holds attention."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.norm = AttentionNorm(4)
        self.inner = inner


class Mamba(nn.Module):
    """Projects into something else."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj, self.out_proj = nn.Linear(4, 8), nn.Linear(8, 4)


class StateAttention(Mamba):
    """The same, but it says so."""


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (AttentionBlock(LinearAttention()), ["inner"]),
        (AttentionBlock(nn.Linear(4, 4)), ["model"]),
        (AttentionBlock(zoo.Fused()), ["inner"]),
        (Mamba(), []),
        (StateAttention(), ["model"]),
    ],
    ids=["by name", "holder without", "holder with", "not attention", "vague parts, clear name"],
)
def test_of_nested_modules_the_one_that_attends_is_taken(model: nn.Module, found: list[str]) -> None:
    assert places(model) == found


def test_patterns_keep_modules_out_and_many_are_thinned_out_evenly() -> None:
    model = zoo.Stack(layers=3)
    subject = Subject.of(model, include=["layers.*"], exclude=("layers.1",))
    assert [line.place for line in attention.plan(subject)] == ["layers.0", "layers.2"]
    many = places(zoo.Stack(layers=100))
    assert len(many) == 48
    assert (many[0], many[-1]) == ("layers.0", "layers.99")


def test_a_line_says_what_it_reads_and_what_it_costs() -> None:
    (line, _) = attention.plan(Subject.of(zoo.Stack()))
    assert (line.module, line.kind, line.family) == ("Fused", "attention", "attention")
    assert line.measured == "attention: entropy, sink and logits of heads"
    assert line.series == len(statistics.series("x", zoo.HEADS))
    assert line.values == 2 * 2 * attention.KEYS * zoo.WIDTH
    assert line.operations > line.values
    (unknown, _) = attention.plan(Subject.of(transformers.NanoGPT()))
    assert unknown.series == 0  # its module does not say how many heads it has


@pytest.mark.parametrize(
    ("make", "kernel"), [(zoo.Hidden, "flash_attn_func"), (zoo.HiddenInTorch, "torch.softmax")]
)
def test_what_cannot_be_seen_is_said_in_the_table(
    make: Callable[[], nn.Module], kernel: str, recorded: Recorded
) -> None:
    model = zoo.Stack(make)
    table = recorded.watch(model)
    assert [row.measured for row in table.rows] == [
        f"attention: not visible within {kernel}; run.observe.attention shows q and k"
    ] * 2
    train(model)
    assert recorded.step() == {}
    assert functional.scaled_dot_product_attention is ORIGINAL  # nothing to stand in for


def test_tensors_are_touched_only_for_modules_that_have_a_softmax_of_their_own(recorded: Recorded) -> None:
    recorded.watch(zoo.Stack())
    assert "softmax" not in vars(torch.Tensor)
    method = torch.Tensor.softmax
    table = recorded.watch(zoo.Stack(zoo.Scores))
    assert table.rows[0].measured.endswith("in eager code")
    assert "softmax" in vars(torch.Tensor)
    assert torch.Tensor.softmax is method


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ("sdpa", "of heads"),
        ("eager", "in eager code"),
        ("flash_attention_2", "not visible within flash_attention_2"),
    ],
)
def test_the_implementation_that_a_configuration_names_is_believed(chosen: str, said: str) -> None:
    model = zoo.Stack(layers=1)
    model.layers[0].config = type("Config", (), {"_attn_implementation": chosen})()
    (line,) = attention.plan(Subject.of(model))
    assert said in line.measured
