"""The use of a codebook against its definition, written as loops over indices in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from foreshock.measure.statistics import codebook
from foreshock.testing import recording

torch.set_num_threads(1)


def drawn(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.randint(0, size, (count,), generator=torch.Generator().manual_seed(seed))


class Measured:
    """A codebook measured batch by batch."""

    def __init__(self, size: int) -> None:
        self.memory = codebook.fresh(size, torch.device("cpu"))

    def __call__(self, index: Tensor, **given: Tensor) -> dict[str, float]:
        given = {"index": index, **given}
        row, self.memory = codebook.measure(given, self.memory)
        specs = codebook.series("", given)
        assert len(row) == len(specs)
        return dict(zip((spec.statistic for spec in specs), row.tolist(), strict=True))


class ByHand:
    """The definitions: every index that ever came is kept, with the number of those that came after its batch."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.batches: list[list[int]] = []

    def __call__(self, index: list[int]) -> dict[str, float]:
        size, window = self.size, 16 * self.size
        self.batches.append(index)
        weight, squares, later = np.zeros(size), 0.0, 0
        since, age = np.full(size, np.inf), np.full(size, float(len(self.batches)))
        for records_ago, batch in enumerate(reversed(self.batches)):
            w = math.exp(-later / window)
            for code in batch:
                weight[code] += w
                squares += w * w
                since[code], age[code] = min(since[code], later), min(age[code], records_ago)
            later += len(batch)
        f = weight / weight.sum()
        used = since < window
        entropy = -math.fsum(p * math.log(p) for p in f if p > 0)
        ordered = sorted(age)
        return {
            "codebook_usage": used.mean(),
            "codebook_perplexity": min(
                size, math.exp(entropy + (used.sum() - 1) * squares / (2 * weight.sum() ** 2))
            ),
            "codebook_dead": float((weight < 0.01 * weight.sum() / size).mean()),
            "codebook_age_p50": ordered[math.ceil(0.5 * size) - 1],
            "codebook_age_p95": ordered[math.ceil(0.95 * size) - 1],
            "codebook_age_max": ordered[-1],
            "n_eff": len(index),
        }


@pytest.mark.parametrize(("size", "batch"), [(2, 40), (10, 50), (37, 500), (8, 1000)])
def test_readings_agree_with_their_definitions_over_many_batches(size: int, batch: int) -> None:
    measured, by_hand = Measured(size), ByHand(size)
    for seed in range(12):
        index = drawn(batch, size if seed < 4 else max(1, size // 2), seed)
        readings, expected = measured(index), by_hand(index.tolist())
        assert readings == pytest.approx(expected, rel=1e-4), seed


def test_nothing_is_said_before_there_are_four_indices_per_code_but_ages() -> None:
    measured = Measured(100)
    readings = measured(drawn(399, 100))
    assert all(
        math.isnan(readings[name]) for name in ("codebook_usage", "codebook_perplexity", "codebook_dead")
    )
    assert readings["codebook_age_max"] in (0, 1)
    readings = measured(drawn(1, 100))
    assert readings["codebook_usage"] > 0.9


@pytest.mark.parametrize(("per_code", "plain", "corrected"), [(1, 575, 789), (4, 895, 1012), (16, 992, 1023)])
def test_the_correction_brings_an_even_codebook_s_perplexity_near_its_size(
    per_code: int, plain: float, corrected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codebook, "ENOUGH", 1)
    index = drawn(per_code * 1024, 1024)
    f = np.bincount(index.numpy(), minlength=1024) / len(index)
    uncorrected = math.exp(-sum(p * math.log(p) for p in f if p > 0))
    assert uncorrected == pytest.approx(plain, rel=0.05)
    assert Measured(1024)(index)["codebook_perplexity"] == pytest.approx(corrected, rel=0.05)


def test_a_codebook_that_shrinks_to_one_code_reads_one() -> None:
    measured = Measured(32)
    healthy = measured(drawn(32 * 16, 32))
    assert healthy["codebook_usage"] == 1
    assert healthy["codebook_perplexity"] > 31
    for _ in range(12):
        readings = measured(torch.full((512,), 7))
    assert readings["codebook_usage"] == 1 / 32
    assert readings["codebook_perplexity"] == pytest.approx(1, abs=1e-3)
    assert readings["codebook_dead"] == 31 / 32
    assert (readings["codebook_age_p50"], readings["codebook_age_max"]) == (12, 12)
    assert Measured(32)(torch.full((512,), 7))["codebook_perplexity"] == 1


def test_usage_is_of_the_window_and_a_revived_code_counts_again() -> None:
    measured, half = Measured(8), torch.arange(4).repeat(16)  # 64 indices: half of the window
    measured(torch.arange(8).repeat(16))
    assert measured(half)["codebook_usage"] == 1
    assert measured(half)["codebook_usage"] == 0.5
    assert measured(torch.tensor([5]))["codebook_usage"] == 0.625


def test_masked_and_impossible_indices_do_not_count() -> None:
    index = drawn(600, 10)
    mask = torch.rand(600, generator=torch.Generator().manual_seed(1)) > 0.3
    expected = Measured(10)(index[mask])
    assert Measured(10)(index, valid=mask) == pytest.approx(expected)
    index[mask.logical_not()] = 10
    index[mask.logical_not().nonzero()[::2]] = -1
    assert Measured(10)(index) == pytest.approx(expected)
    index[:400] = -1
    readings = Measured(10)(index)
    assert readings.pop("n_eff") < 300
    assert all(math.isnan(value) for value in readings.values())


def test_an_empty_batch_ages_nobody() -> None:
    measured = Measured(10)
    nothing = measured(torch.zeros(0, dtype=torch.long))
    assert nothing.pop("n_eff") == 0
    assert all(math.isnan(value) for value in nothing.values())
    before = measured(drawn(100, 9))
    after = measured(torch.zeros(0, dtype=torch.long))
    assert after.pop("n_eff") == 0
    assert after == pytest.approx({name: value for name, value in before.items() if name != "n_eff"})


def test_the_order_of_the_indices_does_not_matter_nor_does_their_type() -> None:
    index = drawn(500, 20)
    expected = Measured(20)(index)
    for other in (index.flip(0), index.to(torch.int32), index.to(torch.uint8)):
        assert Measured(20)(other) == pytest.approx(expected)


def test_the_share_of_codes_that_receive_a_gradient() -> None:
    gradient = torch.zeros(10, 4)
    index = drawn(100, 10)
    assert Measured(10)(index, gradient=gradient)["codebook_updated"] == 0
    gradient[3, 1], gradient[7] = 1e-30, -2
    assert Measured(10)(index, gradient=gradient)["codebook_updated"] == pytest.approx(0.2)
    assert Measured(10)(index, gradient=gradient.bfloat16())["codebook_updated"] == pytest.approx(0.2)
    gradient[0, 2] = math.nan
    readings = Measured(10)(index, gradient=gradient)
    assert readings["codebook_updated"] == pytest.approx(2 / 9)
    assert readings["nonfinite_count"] == 1
    gradient[:6] = math.inf
    assert math.isnan(Measured(10)(index, gradient=gradient)["codebook_updated"])


def test_rows_that_are_no_one_hot_choose_nothing() -> None:
    rows = torch.eye(5)[[2, 0, 4]]
    assert codebook.from_one_hot(rows).tolist() == [2, 0, 4]
    rows[1] = 0.2
    rows[2] = 0
    assert codebook.from_one_hot(rows.bfloat16()).tolist() == [2, -1, -1]


def test_a_loop_shows_its_codes() -> None:
    by_hand = ByHand(6)
    expected = []
    with recording() as recorded:
        for seed in range(3):
            index = drawn(60, 6, seed)
            gradient = torch.zeros(6, 2)
            gradient[:3] = 1
            recorded.run.observe.codes("vq", index.view(3, 20), size=6, gradient=gradient)
            recorded.run.observe.codes("masked", index, size=6, mask=torch.arange(60) < 30)
            recorded.run.step()
            expected.append(by_hand(index.tolist()))
        for name in expected[0]:
            values = recorded.columns(f"{name}{{place=vq}}").values
            assert values.tolist() == pytest.approx([one[name] for one in expected], rel=1e-4), name
        assert recorded.columns("codebook_updated{place=vq}").values.tolist() == [0.5] * 3
        assert recorded.columns("n_eff{place=masked}").values.tolist() == [30] * 3


INDEX = torch.zeros(9, dtype=torch.long)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda o: o.codes("c", [1], size=4), r"indices is a list; pass a torch tensor"),
        (lambda o: o.codes("c", torch.zeros(9), size=4), r"indices has dtype torch.float32; pass which code"),
        (lambda o: o.codes("c", INDEX, size=1), r"size is 1; pass the number of codes"),
        (lambda o: o.codes("c", INDEX, size=4, mask=torch.ones(8)), r"mask has shape \[8\]"),
        (
            lambda o: o.codes("c", INDEX, size=4, gradient=torch.zeros(5, 2)),
            r"gradient has shape \[5, 2\] on cpu; pass that of the codebook, \[4, width\]",
        ),
    ],
)
def test_a_wrong_argument_is_told_what_to_be(call: object, sentence: str) -> None:
    with recording() as recorded, pytest.raises(ValueError, match=sentence):
        call(recorded.run.observe)  # type: ignore[operator]
