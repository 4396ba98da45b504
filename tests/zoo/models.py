"""Every kind of model that the hooks must leave alone: how to make one, and a batch for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from tests.zoo import feedforward, huggingface, mixtures, transformers
from torch import Tensor, nn

MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "nanogpt": (transformers.NanoGPT, transformers.tokens),
    "causal lm": (transformers.CausalLM, transformers.tokens),
    "encoder": (transformers.Encoder, transformers.tokens),
    "llama": (huggingface.LlamaForCausalLM, transformers.tokens),
    "gpt-2 with a value head": (huggingface.GPT2WithValueHead, transformers.tokens),
    "bert": (huggingface.BertForSequenceClassification, transformers.tokens),
    "actor and critic": (feedforward.ActorCritic, feedforward.features),
    "mixture of experts": (mixtures.Mixture, mixtures.rows),
    "vq-vae": (mixtures.VQVAE, mixtures.rows),
    "mlp": (feedforward.mlp, feedforward.features),
    "functional mlp": (feedforward.FunctionalMLP, feedforward.features),
    "resnet": (feedforward.ResNet, feedforward.images),
    "cnn": (feedforward.simple_cnn, feedforward.images),
}


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """The same weights each time."""
    torch.manual_seed(0)
    return make()


def loss_of(output: object) -> Tensor:
    """Something to differentiate, whatever a model returns."""
    if isinstance(output, Mapping):
        output = tuple(output.values())
    tensors = output if isinstance(output, tuple) else (output,)
    return torch.stack([tensor.float().square().mean() for tensor in tensors]).sum()
