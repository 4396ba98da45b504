"""Two models of one class, both compiled, one of them watched: torch shares graphs between them, and ours must not get lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tests.zoo import transformers

from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No graph of another test; torch's own setting before and after."""
    torch._dynamo.config.skip_nnmodule_hook_guards = True
    torch._dynamo.reset()
    yield
    torch._dynamo.config.skip_nnmodule_hook_guards = True
    torch._dynamo.reset()


@pytest.mark.parametrize("first", ["watched", "reference"])
def test_a_reference_of_the_same_class_does_not_take_the_hooks_away(first: str) -> None:
    rows: list[StepRow] = []
    instruments = Instruments(every={"activations": 1}, on_row=rows.append)
    watched, reference = transformers.NanoGPT(2), transformers.NanoGPT(2)
    instruments.watch(watched, families=["representation"])
    policy, other = (
        torch.compile(model, backend="aot_eager", fullgraph=True) for model in (watched, reference)
    )
    for step in range(4):
        for model in (policy, other) if first == "watched" else (other, policy):
            model(transformers.tokens(6 if model is policy else 3))
        instruments.step(step, 0.0)
    instruments.close(0)
    read = {
        (row.step, spec.place): value
        for row in rows
        for spec, value in zip(row.frame.series, row.values.tolist(), strict=True)
        if spec.statistic == "n_eff"
    }
    places = {"transformer.h.0", "transformer.h.1", "transformer.ln_f"}
    assert read == {(step, place): 6 * 8 for step in range(4) for place in places}
