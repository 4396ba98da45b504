"""Entropy straight from hidden states and the output layer, against the logits that were never made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from foreshock.measure.statistics import linear

torch.set_num_threads(1)


def given(tokens: int = 40, width: int = 16, vocabulary: int = 300) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    return {
        "hidden": torch.randn(tokens, width, generator=g),
        "weight": torch.randn(vocabulary, width, generator=g),
        "bias": torch.randn(vocabulary, generator=g),
        "actions": torch.randint(0, vocabulary, (tokens,), generator=g),
    }


def definition(logits: Tensor, actions: Tensor | None = None) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Entropy, varentropy, top probability, log-sum-exp, Σp², Σp² ln p and ln p of the actions, in float64."""
    logp = logits.double().log_softmax(-1)
    p = logp.exp()
    entropy = -(p * logp).sum(-1)
    rows = [
        entropy,
        (p * logp.square()).sum(-1) - entropy.square(),
        p.amax(-1),
        logits.double().logsumexp(-1),
        p.square().sum(-1),
        (p.square() * logp).sum(-1),
    ]
    if actions is not None:
        rows.append(logp.gather(-1, actions.unsqueeze(-1)).squeeze(-1))
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("elements", [1, 700, 1 << 20])
def test_it_reads_what_the_logits_read(elements: int) -> None:
    x = given()
    logits = x["hidden"].double() @ x["weight"].double().T
    ours = linear.scan(x["hidden"], x["weight"], actions=x["actions"], squares=True, elements=elements)
    assert np.allclose(ours.numpy(), definition(logits, x["actions"]), rtol=2e-5, atol=2e-5)
    assert torch.equal(linear.scan(x["hidden"], x["weight"], elements=elements), ours[:4])


def test_bias_cap_and_temperature_come_in_that_order() -> None:
    x = given()
    logits = x["hidden"].double() @ x["weight"].double().T + x["bias"].double()
    capped = 2.0 * torch.tanh(logits / 2.0) / 0.7
    ours = linear.scan(
        x["hidden"], x["weight"], bias=x["bias"], scale=1 / 0.7, softcap=2.0, actions=x["actions"]
    )
    expected = definition(capped, x["actions"])[[0, 1, 2, 3, 6]]
    assert np.allclose(ours.numpy(), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_multiplied_exactly_and_summed_in_float32(dtype: torch.dtype) -> None:
    x = given()
    hidden, weight = x["hidden"].to(dtype), x["weight"].to(dtype)
    expected = definition(hidden.double() @ weight.double().T)[:4]
    assert np.allclose(linear.scan(hidden, weight, elements=500).numpy(), expected, rtol=2e-5, atol=2e-5)
    mixed = linear.scan(hidden.float(), weight)
    assert np.allclose(mixed.numpy(), expected, rtol=2e-5, atol=2e-5)


def test_picked_rows_of_a_batch_read_as_they_do_alone_and_its_layout_does_not_matter() -> None:
    x = given()
    batch = x["hidden"].reshape(4, 10, 16)[:, :-1]
    rows = torch.tensor([35, 0, 9, 9])
    alone = batch.reshape(36, 16)[rows]
    actions = torch.tensor([3, -1, 299, 300])
    ours = linear.scan(batch, x["weight"], rows, actions=actions, elements=900)
    assert torch.allclose(ours[:4], linear.scan(alone, x["weight"]), rtol=1e-5, atol=1e-5)
    assert ours[4].isnan().tolist() == [False, True, False, True]
    assert linear.scan(batch, x["weight"]).shape == (4, 36)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_broken_hidden_state_reads_nan_and_no_other_does(poison: float) -> None:
    x = given()
    x["hidden"][3, 2] = poison
    bad = linear.scan(x["hidden"], x["weight"], elements=700)[0].isnan()
    assert bad.nonzero().flatten().tolist() == [3]


def test_no_token_gives_no_reading_and_no_vocabulary_is_refused() -> None:
    x = given()
    none = x["hidden"][:0]
    assert linear.scan(none, x["weight"]).shape == (4, 0)
    assert linear.scan(none, x["weight"], actions=x["actions"][:0], squares=True).shape == (7, 0)
    with pytest.raises(ValueError, match="empty last dimension"):
        linear.scan(x["hidden"], x["weight"][:0])


class LargestMade(TorchDispatchMode):
    """How many values the largest tensor made inside has."""

    values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and not func.is_view:
            self.values = max(self.values, made.numel())
        return made


def test_the_logits_are_never_held_at_once() -> None:
    x = given(tokens=64, width=32, vocabulary=5000)
    hidden, weight = x["hidden"].bfloat16(), x["weight"].bfloat16()
    with LargestMade() as largest:
        linear.scan(hidden, weight, squares=True, actions=x["actions"], elements=4096)
    assert largest.values <= 4096


def test_the_logits_of_a_few_rows_are_those_that_would_have_been_made() -> None:
    x = given()
    rows = torch.tensor([7, 3, 7])
    expected = x["hidden"][rows].double() @ x["weight"].double().T + x["bias"].double()
    expected = 2.0 * torch.tanh(expected / 2.0) / 0.7
    ours = linear.logits(x["hidden"], x["weight"], rows, bias=x["bias"], scale=1 / 0.7, softcap=2.0)
    assert torch.allclose(ours.double(), expected, rtol=1e-5, atol=1e-5)
    half = linear.logits(x["hidden"].bfloat16(), x["weight"].bfloat16(), rows)
    assert half.dtype == torch.float32
    exact = x["hidden"].bfloat16()[rows].double() @ x["weight"].bfloat16().double().T
    assert torch.allclose(half.double(), exact, rtol=1e-5, atol=1e-5)
