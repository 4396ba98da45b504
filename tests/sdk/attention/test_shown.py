"""Queries and keys that are shown by hand."""

from __future__ import annotations

import pytest
import torch
from tests.sdk.attention.watching import (
    LEVELS,
    MEDIAN,
    UNIFORM,
    Recorded,
)
from tests.zoo import attending as zoo
from torch import Tensor

from foreshock.measure.shown import attention as shown
from foreshock.measure.statistics import attention as statistics
from foreshock.testing import recording

torch.set_num_threads(1)


def test_a_custom_kernel_s_queries_and_keys_are_shown(recorded: Recorded) -> None:
    q, k, v = zoo.Fused().heads(zoo.sequences(2))
    sites = recorded.instruments.sites
    shown.show(sites, "mine", q, k[:, :2], causal=True, scale=0.7)
    shown.show(sites, "mine", v, v)  # the first of a step counts
    values = recorded.step()
    found = statistics.of_queries(q.detach(), k[:, :2].detach(), UNIFORM, causal=True, scale=0.7)
    row = statistics.layer(found, zoo.HEADS, LEVELS)
    specs = statistics.series("mine", zoo.HEADS)
    assert values == pytest.approx(
        {spec.key: value for spec, value in zip(specs, row.tolist(), strict=True)}, rel=1e-5
    )
    shown.show(sites, "mine", q, k, mask=torch.ones(zoo.TOKENS, dtype=torch.bool), scale=0.1, softcap=1.0)
    later = recorded.step()
    assert set(later) == set(values)
    assert later["attention_logit_max{heads=max,place=mine}"] <= 1
    shown.show(sites, "mine", q[0], k[0], exact=True)
    assert recorded.step()["attention_entropy{place=mine}"] > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([1.0], torch.randn(1, 2, 3, 4)), "q is list; pass a floating tensor"),
        ((torch.ones(1, 2, 3, 4).long(), torch.randn(1, 2, 3, 4)), "q is torch.int64; pass a floating"),
        ((torch.randn(3, 4), torch.randn(1, 2, 3, 4)), r"q has shape \[3, 4\]; pass \[sequences, heads"),
        ((torch.randn(1, 2, 3, 4), torch.randn(1, 2, 0, 4)), r"k has shape \[1, 2, 0, 4\]; pass"),
        ((torch.randn(1, 2, 3, 4), torch.randn(2, 2, 3, 4)), "pass the same sequences and the same width"),
        ((torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 5)), "pass the same sequences and the same width"),
        ((torch.randn(1, 4, 3, 4), torch.randn(1, 3, 3, 4)), r"pass heads before tokens, x.transpose"),
        (
            (torch.randn(1, 2, 3, 4), torch.randn(1, 2, 5, 4), torch.ones(3, 4)),
            r"mask has shape \[3, 4\]; pass one that broadcasts to \[1, 2, 3, 5\]",
        ),
        (
            (torch.randn(1, 2, 3, 4), torch.randn(1, 2, 5, 4), torch.ones(3, 5).int()),
            "mask is torch.int32; pass booleans",
        ),
    ],
)
def test_wrong_shapes_are_answered_with_what_to_pass(
    arguments: tuple[Tensor, ...], sentence: str, recorded: Recorded
) -> None:
    q, k, *mask = arguments
    with pytest.raises(ValueError, match=sentence):
        shown.show(recorded.instruments.sites, "mine", q, k, mask=mask[0] if mask else None)


def test_a_run_shows_attention_too() -> None:
    with recording() as made:
        made.run.observe.attention("kernel", *torch.randn(2, 2, 3, 9, 4).unbind(0), causal=True)
        made.run.step()
    assert 0 < made.columns(MEDIAN.format("kernel")).values[0] <= 1
