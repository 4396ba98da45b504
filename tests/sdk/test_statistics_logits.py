"""Sizes of logits, the probability of the token taken, and the divergence of two policies, against their definitions in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from foreshock.measure.statistics import tokens

torch.set_num_threads(1)
CHUNKS = [(None, None), (7, 1), (64, 200), (999, 1 << 20)]


def noise(*shape: int, std: float = 2.0, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * std


@pytest.mark.parametrize(("columns", "elements"), CHUNKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sizes_are_those_of_the_definition(
    columns: int | None, elements: int | None, dtype: torch.dtype
) -> None:
    logits = noise(30, 500).to(dtype)
    logits[3, 100:] = -math.inf
    logits[4, [5, 400]] = 20.0  # a tie
    logits[5] -= 100.0
    ours = tokens.scan(logits, sizes=True, columns=columns, elements=elements)[4:].double().numpy()
    for row, found in zip(logits.double().tolist(), ours.T, strict=True):
        possible = [z for z in row if z != -math.inf]
        first, second = sorted(row)[:-3:-1]
        expected = [first, max(map(abs, possible)), math.fsum(possible) / len(possible), first - second]
        assert np.allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_sizes_of_a_single_logit_and_of_a_broken_token() -> None:
    assert tokens.scan(torch.full((1, 1), 3.0), sizes=True)[4:].flatten().tolist() == [3, 3, 3, math.inf]
    logits = noise(4, 20)
    logits[0, 3], logits[1, 3], logits[2] = math.nan, math.inf, -math.inf
    assert tokens.scan(logits, sizes=True, columns=8).isnan().all(0).tolist() == [True, True, True, False]


@pytest.mark.parametrize("rows", [None, [5, 0, 5]])
@pytest.mark.parametrize("cut", [False, True])
def test_the_token_taken_reads_its_log_probability(rows: list[int] | None, cut: bool) -> None:
    logits = noise(2, 4, 60)[:, :-1] if cut else noise(6, 60)
    picked = None if rows is None else torch.tensor(rows)
    expected = logits.double().reshape(6, 60).log_softmax(1)
    expected = expected if picked is None else expected[picked]
    actions = torch.arange(len(expected)) * 9
    ours = tokens.scan(logits, picked, actions=actions)[-1]
    assert np.allclose(ours.numpy(), expected.gather(1, actions.unsqueeze(1)).squeeze(1), atol=1e-6)
    outside = tokens.scan(logits, picked, actions=actions.clone().index_fill_(0, torch.tensor([1]), 60))[-1]
    assert outside.isnan().nonzero().flatten().tolist() == [1]


@pytest.mark.parametrize(("columns", "elements"), CHUNKS)
@pytest.mark.parametrize("offset", [0.0, 200.0])
def test_the_divergence_is_that_of_the_definition(
    columns: int | None, elements: int | None, offset: float
) -> None:
    p, q = noise(30, 500), noise(30, 500) + noise(30, 500, std=0.3, seed=1) + offset
    q[0] = p[0]
    p[1, :400] = q[1, :300] = -math.inf
    q[2, 7] = 60.0 + offset
    ours = tokens.compare(p, q, columns=columns, elements=elements).double()
    for row in range(30):
        logp, logq = p[row].double().log_softmax(0), q[row].double().log_softmax(0)
        possible = logp != -math.inf
        expected = (logp.exp() * (logp - logq))[possible].sum()
        assert ours[0, row].item() == pytest.approx(expected.item(), rel=2e-5, abs=4e-6)
        for found, own in zip(ours[1:, row], (logp, logq), strict=True):
            entropy = -torch.where(own == -math.inf, 0.0, own.exp() * own).sum()
            assert found.item() == pytest.approx(entropy.item(), rel=2e-6, abs=2e-6)
    assert torch.equal(tokens.divergence(p, q), tokens.compare(p, q)[0])
    picked = torch.tensor([4, 2])
    assert torch.allclose(tokens.divergence(p, q, picked), tokens.divergence(p[picked], q[picked]))


def test_the_divergence_from_a_policy_that_excludes_a_possible_token_is_infinite() -> None:
    p = noise(3, 40)
    q = p.clone()
    q[0, 8] = -math.inf
    p[1, 8] = q[1, 8] = -math.inf  # excluded by both: nothing
    q[2, 8] = math.nan
    for columns in (5, 40):
        found = tokens.compare(p, q, columns=columns)
        assert found[0, 0].item() == math.inf
        assert found[0, 1].item() == pytest.approx(0.0, abs=1e-6)
        assert found[:, 2].isnan().all()
        assert found[1:, :2].isfinite().all()


def test_where_p_has_nothing_at_all_in_the_end_an_excluding_q_does_not_matter() -> None:
    p, q = torch.zeros(1, 4), torch.zeros(1, 4)
    p[0, 3], q[0, 0] = 500.0, -math.inf  # what precedes the peak by 500 nats is 0 in float32
    assert tokens.divergence(p, q).item() == pytest.approx(math.log(3))
    assert tokens.compare(p, q, columns=1)[0].item() == pytest.approx(math.log(3))


def test_two_layouts_and_two_dtypes_are_compared_as_their_copies_are() -> None:
    p = noise(3, 5, 70).bfloat16()[:, 1:]
    q = noise(3, 4, 70, seed=2)
    assert torch.allclose(tokens.compare(p, q), tokens.compare(p.reshape(12, 70), q.reshape(12, 70)))
    assert tokens.compare(p[:0], q[:0]).shape == (3, 0)


class Held(TorchDispatchMode):
    """The most bytes that tensors made inside held at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {
            x.untyped_storage()._cdata for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)
        }
        made = func(*args, **(kwargs or {}))
        for x in pytree.tree_leaves(made):
            if isinstance(x, Tensor) and (key := x.untyped_storage()._cdata) not in before:
                self._alive[key] = StorageWeakRef(x.untyped_storage()), x.untyped_storage().nbytes()
        self._alive = {key: one for key, one in self._alive.items() if not one[0].expired()}
        self.most = max(self.most, sum(size for _, size in self._alive.values()))
        return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_made_on_the_way_is_a_few_chunks(dtype: torch.dtype) -> None:
    logits = noise(64, 5000).to(dtype)
    chunk = 10_000 * 4 + 1024  # bytes in float32, and some numbers per row
    for rows in (None, torch.arange(64)):
        with Held() as held:
            tokens.scan(logits, rows, elements=10_000)
        assert chunk < held.most <= 3 * chunk
        with Held() as held:
            tokens.scan(logits, rows, squares=True, sizes=True, elements=10_000)
        assert held.most <= 5 * chunk
    with Held() as held:
        tokens.compare(logits, logits, elements=10_000)
    assert held.most <= 8 * chunk
