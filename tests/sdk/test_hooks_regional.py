"""A model whose layers are compiled one by one: every layer is measured, and they share their graphs."""

from __future__ import annotations

import torch
from tests.zoo import transformers
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments

torch.set_num_threads(1)
LAYERS = 12  # more than torch recompiles one function before it gives up, which under fullgraph is an error


def frames(model: nn.Module) -> int:
    """Train one step with each layer compiled for itself; how many graphs that took."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    for block in model.transformer["h"]:
        block.compile(backend=counter, fullgraph=True)
    model(transformers.tokens()).square().mean().backward()
    return counter.frame_count


def test_layers_that_are_compiled_one_by_one_are_all_measured() -> None:
    plain = frames(transformers.NanoGPT(LAYERS, dropout=0.0))
    rows: list[StepRow] = []
    instruments = Instruments(every={"activations": 1, "attention": 1, "optimiser": 1000}, on_row=rows.append)
    model = transformers.NanoGPT(LAYERS, dropout=0.0)
    instruments.watch(model)
    watched = frames(model)
    instruments.step(0, 0.0)
    instruments.close(0)
    measured = {(spec.statistic, spec.place) for row in rows for spec in row.frame.series}
    for layer in range(LAYERS):
        assert ("n_eff", f"transformer.h.{layer}") in measured
        assert ("attention_entropy", f"transformer.h.{layer}.attn") in measured
    if plain < LAYERS:
        assert watched <= 3
    else:  # this torch makes a graph for each layer, and one for the hooks around it
        assert watched <= 2 * LAYERS
