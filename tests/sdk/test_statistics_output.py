"""A classifier's logits and a model that adapts itself, against their definitions and through the calls that people make."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foreshock.measure.statistics import adaptation, output, predictions
from foreshock.testing import recording

torch.set_num_threads(1)


def noise(*shape: int, std: float = 2.0, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * std


def read(given: Mapping[str, Tensor], rows: int = 10_000) -> dict[str, float]:
    """Readings by the name of the statistic."""
    specs = output.series(tuple(given), "head")
    return dict(zip([spec.statistic for spec in specs], output.measure(given, rows).tolist(), strict=True))


def everyone(logits: Tensor) -> Tensor:
    return torch.ones(logits.shape[:-1].numel(), dtype=torch.bool)


def entropy_of(counts: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


def definition(logits: Tensor, targets: Tensor | None = None) -> dict[str, float]:
    """All of it in float64, row by row where a loop says it best; the dtype is that of the logits given."""
    eps = torch.finfo(logits.dtype).eps
    z = logits.double()
    p, lse = z.softmax(1).numpy(), z.logsumexp(1).numpy()
    classes = z.shape[1]
    ordered = z.sort(1, descending=True).values
    margin = (ordered[:, 0] - ordered[:, 1]).numpy()
    surprise = -np.log(np.maximum(p, 1e-300))
    entropy = (p * surprise).sum(1)
    possible = [[x for x in row if x != -math.inf] for row in z.tolist()]
    found = {
        "output_entropy": entropy.mean(),
        "output_entropy_normalized": entropy.mean() / math.log(classes),
        "output_top1": p.max(1).mean(),
        "output_lse": lse.mean(),
        "output_z_loss": (lse**2).mean(),
        "output_logit_mean": np.mean([np.mean(row) for row in possible]),
        "output_logit_max": max(abs(x) for row in possible for x in row),
        "output_margin": margin.mean(),
        "output_marginal_entropy": entropy_of(p.mean(0)),
        "output_information": entropy_of(p.mean(0)) - entropy.mean(),
        "output_predicted_entropy": entropy_of(np.bincount(z.argmax(1).numpy()).astype(np.float64)),
        "absorbed_share": np.mean(margin > math.log(2 / eps)),
        "output_rows": len(z),
        "nonfinite_count": 0,
    }
    one_plus = torch.tensor((1 / p.max(1)).tolist(), dtype=torch.float64).to(logits.dtype)
    collapsed = (one_plus == 1).numpy()
    found["softmax_collapse_share"] = collapsed.mean()
    if targets is not None:
        right = (z.gather(1, targets.unsqueeze(1)).squeeze(1) == z.amax(1)).numpy()
        found["zero_loss_share"] = np.mean(collapsed & right)
        found["output_target_entropy"] = entropy_of(np.bincount(targets.numpy()).astype(np.float64))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("std", [0.1, 3.0, 12.0])
def test_everything_is_as_defined(dtype: torch.dtype, std: float) -> None:
    logits = noise(60, 12, std=std).to(dtype)
    logits[7, 6:] = -math.inf
    targets = torch.randint(0, 12, (60,), generator=torch.Generator().manual_seed(1))
    targets[:30] = logits[:30].argmax(1)
    found = read({"logits": logits, "valid": everyone(logits), "targets": targets})
    expected = definition(logits, targets)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=2e-5, abs=1e-5), name


def test_only_rows_that_count_are_read_and_what_is_masked_may_be_anything() -> None:
    logits = noise(40, 9)
    targets = torch.arange(40) % 9
    valid = torch.arange(40) % 3 > 0
    targets[1] = -100
    targets[2] = 9  # a class that does not exist
    counts = valid & (targets >= 0) & (targets < 9)
    expected = definition(logits[counts], targets[counts])
    logits[~counts] = math.nan
    found = read({"logits": logits, "valid": valid, "targets": targets})
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=2e-5, abs=1e-5), name


def test_bad_rows_are_counted_and_left_out_until_they_are_the_majority() -> None:
    logits = noise(10, 5)
    logits[0, 1], logits[1, 2], logits[2] = math.nan, math.inf, -math.inf
    found = read({"logits": logits, "valid": everyone(logits)})
    expected = definition(logits[3:])
    for name in expected.keys() - {"nonfinite_count"}:
        assert found[name] == pytest.approx(expected[name], rel=2e-5, abs=1e-5), name
    assert found["nonfinite_count"] == 3
    logits[3:6] = math.nan
    found = read({"logits": logits, "valid": everyone(logits)})
    assert (found.pop("output_rows"), found.pop("nonfinite_count")) == (4, 6)
    assert all(math.isnan(value) for value in found.values())
    nobody = read({"logits": logits, "valid": torch.zeros(10, dtype=torch.bool)})
    assert nobody["output_rows"] == 0
    assert math.isnan(nobody["output_entropy"])
    assert math.isnan(nobody["output_marginal_entropy"])


def test_one_prediction_for_all_has_no_information_and_certain_different_ones_have_it_all() -> None:
    same = noise(1, 6).expand(30, 6).contiguous()
    found = read({"logits": same, "valid": everyone(same)})
    assert found["output_information"] == pytest.approx(0.0, abs=1e-6)
    assert found["output_predicted_entropy"] == 0.0
    apart = 50.0 * torch.eye(6).repeat(5, 1)
    found = read({"logits": apart, "valid": everyone(apart)})
    assert found["output_information"] == pytest.approx(math.log(6), rel=1e-5)
    assert found["softmax_collapse_share"] == found["absorbed_share"] == 1.0


def test_the_softmax_collapses_where_rounding_says_so() -> None:
    for dtype, gap in ((torch.float32, 16.64), (torch.float16, 7.62), (torch.bfloat16, 5.55)):
        logits = torch.zeros(2, 2, dtype=dtype)
        logits[0, 0], logits[1, 0] = gap * 1.02, gap * 0.98
        total = (logits.float() - logits.float().amax(1, keepdim=True)).exp().to(dtype).sum(1, dtype=dtype)
        assert (total == 1).tolist() == [True, False]
        found = read({"logits": logits, "valid": everyone(logits)})
        assert found["softmax_collapse_share"] == found["absorbed_share"] == 0.5
    many = torch.zeros(1, 3000)
    many[0, 0] = 17.0  # each of the others is lost, all of them together are not
    found = read({"logits": many, "valid": everyone(many)})
    assert (found["absorbed_share"], found["softmax_collapse_share"]) == (1.0, 0.0)
    double = torch.tensor([[20.0, 0.0], [40.0, 0.0]], dtype=torch.float64)
    assert read({"logits": double, "valid": everyone(double)})["softmax_collapse_share"] == 0.5


def test_a_collapsed_row_has_no_gradient() -> None:
    logits = (20.0 * torch.eye(4)).requires_grad_()
    losses = nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0]), reduction="none")
    found = read(
        {"logits": logits.detach(), "valid": everyone(logits), "targets": torch.tensor([0, 1, 2, 0])}
    )
    assert found["zero_loss_share"] == (losses == 0).float().mean().item() == 0.75


def test_a_sample_has_the_rows_that_count_and_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = noise(50, 8).reshape(5, 10, 8)
    valid = torch.arange(50) % 2 == 0
    uniform = torch.rand(50, generator=torch.Generator().manual_seed(0))
    expected = read({"logits": logits, "valid": valid})
    found = read({"logits": logits, "valid": valid, "uniform": uniform}, 30)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    assert read({"logits": logits, "valid": valid, "uniform": uniform}, 12)["output_rows"] == 12
    monkeypatch.setattr(predictions, "ELEMENTS", {"cpu": 20})
    for name, value in read({"logits": logits, "valid": valid}).items():
        assert value == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name


# -- a model that adapts itself --------------------------------------------------------------------------------------


class Adapting:
    def __init__(self, classes: int) -> None:
        self.memory = torch.zeros(adaptation.ROWS, classes)

    def __call__(self, logits: Tensor, valid: Tensor | None = None) -> dict[str, float]:
        given = {"logits": logits, "valid": everyone(logits) if valid is None else valid}
        values = adaptation.measure(given, self.memory, 10_000).tolist()
        specs = adaptation.series("adaptation")
        return dict(zip([spec.statistic for spec in specs], values, strict=True))


def test_adaptation_is_the_weighted_mean_of_all_batches() -> None:
    batches = [noise(size, 7, seed=size) for size in (30, 1, 200, 64)]
    adapting = Adapting(7)
    softmax, decided, entropy, weight = np.zeros(7), np.zeros(7), 0.0, 0.0
    for logits in batches:
        found = adapting(logits)
        p = logits.double().softmax(1).numpy()
        own = -(p * np.log(p)).sum(1)
        fade = math.exp(-len(p) / adaptation.WINDOW)
        softmax = fade * softmax + p.sum(0)
        decided = fade * decided + np.bincount(p.argmax(1), minlength=7)
        entropy, weight = fade * entropy + own.sum(), fade * weight + len(p)
        expected = {
            "adaptation_entropy": own.mean(),
            "adaptation_confidence": p.max(1).mean(),
            "adaptation_marginal_entropy": entropy_of(softmax),
            "adaptation_information": entropy_of(softmax) - entropy / weight,
            "adaptation_top_class_share": decided.max() / decided.sum(),
            "adaptation_classes": math.exp(entropy_of(decided)),
            "adaptation_samples": len(p),
            "nonfinite_count": 0,
        }
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=2e-5, abs=1e-5), name


def test_one_class_for_everything_is_seen_also_one_sample_at_a_time() -> None:
    adapting, g = Adapting(10), torch.Generator().manual_seed(0)
    for _ in range(600):
        logits = torch.zeros(1, 10)
        logits[0, torch.randint(0, 10, (1,), generator=g)] = 9.0
        found = adapting(logits)
    assert found["adaptation_classes"] > 9
    assert found["adaptation_information"] > 0.9 * math.log(10)
    for _ in range(1500):
        found = adapting(torch.tensor([[9.0, *[0.0] * 9]]))
    assert found["adaptation_classes"] < 1.5
    assert found["adaptation_top_class_share"] > 0.9
    assert found["adaptation_information"] < 0.25 * math.log(10)


def test_broken_samples_do_not_stay_in_the_memory() -> None:
    adapting, clean = Adapting(5), Adapting(5)
    logits = noise(40, 5)
    clean(logits[:30])
    logits[30:] = math.nan
    found = adapting(logits)
    assert (found["adaptation_samples"], found["nonfinite_count"]) == (30, 10)
    assert torch.allclose(adapting.memory, clean.memory, rtol=1e-6)
    nothing = adapting(torch.full((4, 5), math.nan))
    assert nothing["nonfinite_count"] == 4
    assert math.isnan(nothing["adaptation_entropy"])
    assert math.isnan(nothing["adaptation_classes"])
    masked = adapting(noise(4, 5), torch.zeros(4, dtype=torch.bool))
    assert math.isnan(masked["adaptation_information"])
    assert torch.allclose(adapting.memory, clean.memory, rtol=1e-6)


# -- the calls ---------------------------------------------------------------------------------------------------------


def test_what_the_loop_shows_is_recorded_under_its_name() -> None:
    logits = noise(4, 6, 20).requires_grad_()
    targets = torch.full((4, 6), -100)
    targets[:, 3:] = 2
    with recording(every={"classifier": 1}) as recorded:
        for step in range(3):
            recorded.run.observe.classifier("head", logits, targets=targets, mask=torch.ones(4, 6))
            with torch.inference_mode():
                recorded.run.observe.adaptation(noise(1, 5, seed=step))
            recorded.run.step()
        keys = recorded.series()
        named = {key.partition("{")[0]: recorded.columns(key).values for key in keys}
    assert named["output_rows"].tolist() == [12.0, 12.0, 12.0]
    flat = logits.detach()[:, 3:].reshape(12, 20)
    assert named["output_entropy"][0] == pytest.approx(definition(flat)["output_entropy"], rel=1e-5)
    assert named["zero_loss_share"].tolist() == [0.0, 0.0, 0.0]
    decided = np.bincount([int(noise(1, 5, seed=step).argmax()) for step in range(3)])
    effective = math.exp(entropy_of(decided.astype(np.float64)))
    assert named["adaptation_classes"][-1] == pytest.approx(effective, rel=1e-2)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"logits": torch.zeros(4)}, r"logits has shape \[4\]; pass \[rows, classes\]"),
    ({"logits": torch.zeros(4, 3, dtype=torch.int64)}, "logits has dtype torch.int64"),
    ({"logits": [1.0]}, "logits is a list"),
    ({"logits": torch.zeros(4, 1)}, "one class; of a single logit"),
    ({"logits": torch.zeros(4, 3), "targets": torch.zeros(3).long()}, r"targets has shape \[3\]"),
    ({"logits": torch.zeros(4, 3), "targets": torch.zeros(4)}, "targets has dtype torch.float32"),
    ({"logits": torch.zeros(4, 3), "mask": torch.ones(5)}, r"mask has shape \[5\]"),
]


@pytest.mark.parametrize(("given", "complaint"), WRONG)
def test_what_does_not_fit_is_refused_with_what_to_pass(
    given: dict[str, Any], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    with recording(every={"classifier": 1}) as recorded, pytest.raises(ValueError, match=complaint):
        recorded.run.observe.classifier("head", **given)


@pytest.mark.parametrize(("period", "rows"), [(1, 0), (0, 4)])
def test_an_empty_batch_or_a_kind_that_is_off_records_nothing(period: int, rows: int) -> None:
    with recording(every={"classifier": period, "adaptation": period}) as recorded:
        recorded.run.observe.classifier("head", torch.zeros(rows, 3))
        recorded.run.observe.adaptation(torch.zeros(rows, 3))
        recorded.run.step()
        assert not [key for key in recorded.series() if key.startswith(("output", "adaptation"))]
