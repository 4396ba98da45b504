"""A clean torch for each test of attention, and instruments for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tests.sdk.attention.watching import (
    ORIGINAL,
    Recorded,
)
from tests.zoo import attending as zoo
from torch.nn import functional

from foreshock.measure.probes import attention_calls


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No graph of another test, and torch as it was found."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()
    assert functional.scaled_dot_product_attention is ORIGINAL
    assert zoo.fused is ORIGINAL
    assert "softmax" not in vars(torch.Tensor)
    assert not attention_calls.watchers
    assert not getattr(attention_calls.entered, "modules", [])


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    made = Recorded()
    yield made
    made.instruments.close(0)
