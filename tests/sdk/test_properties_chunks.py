"""No reading depends on how much of a tensor is held at a time, nor on how the tensor lies in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.sdk.subjects import attention as attention_subjects
from tests.sdk.test_properties import few, generator, seeds
from torch import Tensor

from foreshock.measure.statistics import (
    attention,
    distinction,
    embedding,
    experts,
    linear,
    nucleus,
    power,
    predictions,
    product,
    tokens,
)

torch.set_num_threads(1)
sizes = st.integers(1, 9)
columns = st.integers(1, 40)


def close(found: Tensor, expected: Tensor, tolerance: float = 2e-6) -> None:
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True), (found, expected)


def logits(rows: int, width: int, seed: int) -> Tensor:
    """With impossible tokens, rows that are broken, and offsets."""
    g = generator(seed)
    x = 4 * torch.randn(rows, width, generator=g)
    x = x.masked_fill(torch.rand(rows, width, generator=g) > 0.8, -math.inf)
    x += (torch.rand(rows, 1, generator=g) > 0.7) * 300.0
    broken = torch.randint(0, 12, (rows,), generator=g)
    for row, kind in enumerate(broken.tolist()):
        if kind < 3:
            x[row, -1] = (math.nan, math.inf, -math.inf)[kind]
        if kind == 2:
            x[row] = -math.inf
    return x


@few
@given(
    rows=st.integers(1, 7),
    width=columns,
    seed=seeds,
    held=st.integers(1, 60),
    part=columns,
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_a_pass_over_logits_in_any_pieces_is_the_same_pass(
    rows: int, width: int, seed: int, held: int, part: int, dtype: torch.dtype
) -> None:
    x, y = logits(rows, width, seed).to(dtype), logits(rows, width, seed + 1).to(dtype)
    actions = torch.randint(-1, width + 1, (rows,), generator=generator(seed))
    everything = {"squares": True, "sizes": True, "actions": actions}
    whole = tokens.scan(x, elements=1 << 20, **everything)  # type: ignore[arg-type]
    pieces = tokens.scan(x, columns=part, elements=held, **everything)  # type: ignore[arg-type]
    # The offset of 300 leaves a log-sum-exp with 3e-5 of rounding; entropies are about the maximum, and have none of it.
    close(pieces[:3], whole[:3])
    close(pieces[3:], whole[3:], 4e-5)
    close(tokens.compare(x, y, columns=part, elements=held), tokens.compare(x, y, elements=1 << 20), 2e-5)


@few
@given(
    sequences=st.integers(1, 3), length=st.integers(2, 5), width=columns, seed=seeds, held=st.integers(1, 90)
)
def test_logits_may_lie_in_memory_as_they_like(
    sequences: int, length: int, width: int, seed: int, held: int
) -> None:
    wide = logits(sequences * (length + 1), width + 3, seed).view(sequences, length + 1, -1)
    views: list[Tensor] = [
        wide[:, 1:, :-3],
        wide.transpose(0, 1)[1:, :, 2:-1].transpose(0, 1),
        wide[:, :-1, ::2],
    ]
    rows = torch.randperm(sequences * length, generator=generator(seed))
    for x in views:
        plain = tokens.scan(x.reshape(-1, x.shape[-1]).clone(), sizes=True)
        close(tokens.scan(x, sizes=True, elements=held), plain, 4e-5)
        close(tokens.scan(x, rows, sizes=True, elements=held), plain.index_select(1, rows), 4e-5)


@few
@given(rows=st.integers(1, 6), width=columns, seed=seeds, held=st.integers(1, 200), capped=st.booleans())
def test_logits_that_are_never_made_whole_read_as_those_that_are(
    rows: int, width: int, seed: int, held: int, capped: bool
) -> None:
    g = generator(seed)
    hidden, weight, bias = (torch.randn(*s, generator=g) for s in ((rows, 5), (width, 5), (width,)))
    actions = torch.randint(0, width, (rows,), generator=g)
    made = hidden @ weight.t() + bias
    made = (3.0 * (made / 3.0).tanh() if capped else made) * 0.7
    expected = tokens.scan(made, squares=True, actions=actions)
    found = linear.scan(
        hidden,
        weight,
        bias=bias,
        scale=0.7,
        softcap=3.0 if capped else None,
        squares=True,
        actions=actions,
        elements=held,
    )
    close(found, expected, 1e-5)


def _attention(seed: int) -> Tensor:
    subject = attention_subjects.SUBJECTS[0]
    return torch.tensor(list(subject.read(subject.draw(2, generator(seed))).values()))


def _predicted(seed: int) -> Tensor:
    x, rows = logits(9, 7, seed).nan_to_num(0.0, 0.0, 0.0), torch.arange(8, -1, -1)
    lse = x.logsumexp(1).index_select(0, rows)
    marginal = predictions.marginal(x, rows, lse, torch.ones(9))
    return torch.cat([marginal, predictions.predicted(x, rows).float()])


def _matrix(seed: int, rows: int = 9, width: int = 7) -> Tensor:
    return torch.randn(rows, width, generator=generator(seed))


def _spectral(seed: int) -> Tensor:
    weight, start = _matrix(seed).bfloat16(), torch.nn.functional.normalize(torch.ones(7), dim=0)
    return torch.stack([*power.improve(weight, power.first(weight, start))[:1]])


PIECES: dict[str, tuple[object, str, Callable[[int], Tensor]]] = {
    "attention": (attention, "ELEMENTS", _attention),
    "predictions": (predictions, "ELEMENTS", _predicted),
    "nucleus": (nucleus, "CHUNK", lambda seed: nucleus.within(_matrix(seed, 9, 30) * 3, torch.arange(9))),
    "recomputed router": (
        experts,
        "VALUES",
        lambda seed: experts.scores(_matrix(seed).bfloat16(), _matrix(1), None),
    ),
    "spectral norm": (power, "CHUNK", _spectral),
    "Gram matrix of a weight": (product, "CHUNK", lambda seed: product.gram(_matrix(seed))),
    "pooled states": (
        distinction,
        "CHUNK",
        lambda seed: distinction.pooled(
            _matrix(seed, 8, 15).view(8, 5, 3), torch.ones(8, 5, dtype=torch.bool)
        ),
    ),
    "count": (embedding, "CHUNK", lambda seed: embedding.nonfinite(logits(9, 7, seed))),
}


@pytest.mark.parametrize("name", PIECES)
@few
@given(seed=seeds, held=st.integers(1, 70))
def test_what_is_held_at_a_time_changes_no_reading(name: str, seed: int, held: int) -> None:
    module, limit, read = PIECES[name]
    whole = read(seed)
    smaller = held if isinstance(getattr(module, limit), int) else {"cpu": held}
    with mock.patch.object(module, limit, smaller):
        close(read(seed), whole, 1e-5)
