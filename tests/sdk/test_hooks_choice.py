"""What is watched by default, what patterns choose, and what the table says of it."""

from __future__ import annotations

import pytest
import torch
from tests.zoo import feedforward, huggingface, mixtures, transformers
from torch import Tensor, nn

from foreshock.measure.probes import norms as norm_probe
from foreshock.measure.probes import value_heads
from foreshock.measure.probes.activations import as_rows, first_floating
from foreshock.measure.probes.choose import MOST_PLACES, place_of, places
from foreshock.measure.probes.subject import Subject
from foreshock.measure.statistics import picking

torch.set_num_threads(1)


def names(model: nn.Module, **patterns: list[str]) -> list[str]:
    return [place.name for place in places(model, **patterns)]


class Wrapped(nn.Module):
    """What FSDP and activation checkpointing do to names."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self._checkpoint_wrapped_module = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._checkpoint_wrapped_module(x)
        return y


class SomeDataParallel(nn.Module):
    """What DDP does to names."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.module = inner


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            transformers.NanoGPT(3),
            ["transformer.h.0", "transformer.h.1", "transformer.h.2", "transformer.ln_f"],
        ),
        (transformers.NanoGPT(1), ["transformer.h.0", "transformer.ln_f"]),
        (transformers.CausalLM(2), ["model.layers.0", "model.layers.1", "model.norm"]),
        (transformers.Encoder(2), ["encoder.layers.0", "encoder.layers.1"]),
        (huggingface.LlamaForCausalLM(2), ["model.layers.0", "model.layers.1", "model.norm"]),
        (
            huggingface.GPT2WithValueHead(2),
            ["transformer.h.0", "transformer.h.1", "transformer.ln_f"],
        ),
        (huggingface.BertForSequenceClassification(2), ["bert.encoder.layer.0", "bert.encoder.layer.1"]),
        (feedforward.mlp(), ["1", "4"]),
        (feedforward.FunctionalMLP(), ["fc1", "fc2"]),
        (feedforward.ResNet(), ["layer1", "layer2", "avgpool"]),
        (feedforward.simple_cnn(), ["0", "2", "4"]),
        (nn.Linear(3, 2), [""]),
        (mixtures.FusedBlock(), ["experts"]),
        (nn.Sequential(nn.LSTM(3, 4)), ["0"]),
    ],
    ids=[
        "nanogpt",
        "one block",
        "causal lm",
        "encoder",
        "llama",
        "gpt-2",
        "bert",
        "mlp",
        "functional mlp",
        "resnet",
        "cnn",
        "linear",
        "mixture",
        "lstm",
    ],
)
def test_the_default_choice_is_what_a_person_would_pick(model: nn.Module, expected: list[str]) -> None:
    assert names(model) == expected


@pytest.mark.parametrize(
    ("model", "norms", "heads"),
    [
        (transformers.NanoGPT(2), ["transformer.h.0.ln_1", "transformer.h.1.ln_1", "transformer.ln_f"], []),
        (transformers.Encoder(2), ["encoder.layers.0.norm1", "encoder.layers.1.norm1"], []),
        (
            huggingface.LlamaForCausalLM(2),
            ["model.layers.0.input_layernorm", "model.layers.1.input_layernorm", "model.norm"],
            [],
        ),
        (
            huggingface.GPT2WithValueHead(1),
            ["transformer.h.0.ln_1", "transformer.ln_f"],
            ["v_head.summary.input", "v_head.summary"],
        ),
        (huggingface.BertForSequenceClassification(1), ["bert.encoder.layer.0.output.LayerNorm"], []),
        (feedforward.ResNet(), [f"layer{i}.{j}.bn{k}" for i in (1, 2) for j in (0, 1) for k in (1, 2)], []),
        (feedforward.ActorCritic(), [], ["critic.2.input", "critic.2"]),
        (feedforward.mlp(), [], []),
    ],
    ids=["nanogpt", "encoder", "llama", "gpt-2", "bert", "resnet", "actor and critic", "mlp"],
)
def test_norms_that_read_the_stream_and_value_heads_are_found(
    model: nn.Module, norms: list[str], heads: list[str]
) -> None:
    subject = Subject.of(model)
    assert [line.place for line in norm_probe.plan(subject)] == norms
    assert [line.place for line in value_heads.plan(subject)] == heads


def test_norms_of_single_heads_are_not_taken_for_the_stream() -> None:
    model = huggingface.LlamaForCausalLM(2)
    for layer in model.model.layers:
        layer.self_attn.q_norm = huggingface.LlamaRMSNorm(6)
        layer.input_layernorm, layer.post_attention_layernorm = nn.Identity(), nn.Identity()
    assert [line.place for line in norm_probe.plan(Subject.of(model))] == ["model.norm"]
    assert len(norm_probe.plan(Subject.of(model, include=["**.q_norm"]))) == 2


@pytest.mark.parametrize(
    "wrap", [torch.compile, SomeDataParallel, lambda model: torch.compile(SomeDataParallel(model))]
)
def test_wrappers_do_not_show_in_names(wrap: type[nn.Module]) -> None:
    assert names(wrap(transformers.NanoGPT(2))) == ["transformer.h.0", "transformer.h.1", "transformer.ln_f"]


def test_wrapped_blocks_keep_their_names_and_the_inner_module_is_watched() -> None:
    model = transformers.NanoGPT(2)
    blocks = list(model.transformer["h"])
    model.transformer["h"] = nn.ModuleList(Wrapped(block) for block in blocks)
    chosen = places(model)
    assert [place.name for place in chosen] == ["transformer.h.0", "transformer.h.1", "transformer.ln_f"]


def test_blocks_of_which_each_got_a_class_of_its_own_are_blocks() -> None:
    """What `fully_shard` does to its modules: one class for all of a kind, or, in its first versions, for each."""
    shard = type("FSDPModule", (), {})
    model = transformers.NanoGPT(2)
    for block in model.transformer["h"]:
        block.__class__ = type("FSDPBlock", (shard, type(block)), {})
    assert names(model) == ["transformer.h.0", "transformer.h.1", "transformer.ln_f"]


def test_a_deep_model_is_sampled_evenly_with_both_ends() -> None:
    deep = nn.Module()
    deep.blocks = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)) for _ in range(100))
    chosen = names(deep)
    assert len(chosen) == MOST_PLACES == len(set(chosen))
    assert (chosen[0], chosen[-1]) == ("blocks.0", "blocks.99")


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        (["transformer.h.*"], ["transformer.h.0", "transformer.h.1"]),
        (["**.attn"], ["transformer.h.0.attn", "transformer.h.1.attn"]),
        (["transformer.h.?.ln_*"], [f"transformer.h.{i}.ln_{j}" for i in (0, 1) for j in (1, 2)]),
        (["lm_head", "transformer.wte"], ["transformer.wte", "lm_head"]),
    ],
)
def test_patterns_choose_by_name_and_a_star_stands_for_one_part(
    include: list[str], expected: list[str]
) -> None:
    assert names(transformers.NanoGPT(2), include=include) == expected


def test_exclude_takes_away_from_either_choice() -> None:
    model = transformers.NanoGPT(2)
    assert names(model, exclude=["**.ln_f"]) == ["transformer.h.0", "transformer.h.1"]
    assert names(model, include=["**.attn"], exclude=["**.0.*"]) == ["transformer.h.1.attn"]


def test_a_pattern_that_matches_nothing_is_answered_with_names_that_exist() -> None:
    with pytest.raises(ValueError, match=r"matches no module; modules are named like \['transformer'"):
        places(transformers.NanoGPT(2), include=["layers.*"])


@pytest.mark.parametrize(
    ("parameter", "place"),
    [
        ("model.layers.1.self_attn.in_proj_weight", "model.layers.1"),
        ("model.layers.11.self_attn.in_proj_weight", "model.layers.11"),
        ("model.norm.weight", "model.norm"),
        ("model.embed_tokens.weight", "model.embed_tokens"),
        ("lm_head.weight", "lm_head"),
        ("scale", "scale"),
    ],
)
def test_parameters_belong_to_their_block_or_to_the_module_beside_the_blocks(
    parameter: str, place: str
) -> None:
    assert place_of(parameter, ["model.layers.1", "model.layers.11"]) == place


def test_parameters_of_a_plain_model_belong_to_its_top_level_modules() -> None:
    assert [place_of(name, []) for name in ("0.weight", "layer1.0.conv1.weight")] == ["0", "layer1"]


@pytest.mark.parametrize(
    ("shape", "channels_first", "expected"),
    [
        ((4, 6, 5), False, (24, 5)),
        ((4, 6, 5), True, (20, 6)),
        ((4, 6, 5, 3), False, (60, 6)),
        ((4, 6, 1, 1), True, (4, 6)),
        ((4, 6, 2, 2, 2), True, (32, 6)),
        ((4, 6), True, (4, 6)),
        ((6,), False, (1, 6)),
    ],
)
def test_an_activation_becomes_rows(
    shape: tuple[int, ...], channels_first: bool, expected: tuple[int, int]
) -> None:
    x = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)
    view = as_rows(x, channels_first)
    assert view.data_ptr() == x.data_ptr()
    rows = picking.rows(view)
    assert rows.shape == expected
    if len(shape) == 4:
        assert torch.equal(rows[1], x[0, :, 0, 1] if shape[3] > 1 else x[1, :, 0, 0])


def test_the_first_floating_tensor_of_an_output_is_taken() -> None:
    x = torch.ones(2)
    ids = torch.ones(2, dtype=torch.int64)
    for output in (x, (x, ids), [ids, x], {"logits": x}, (None, ids, x)):
        assert first_floating(output) is x
    for output in (ids, None, (ids,), "text", {}):
        assert first_floating(output) is None
