"""What a Gaussian posterior says against the definitions, written row by row in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from foreshock.measure.statistics import latents
from foreshock.testing import recording

torch.set_num_threads(1)


def posterior(rows: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(rows, width, generator=generator) * torch.linspace(0.02, 2, width)
    return mean, torch.randn(rows, width, generator=generator) - 1


def read(
    mean: Tensor, log_variance: Tensor, valid: Tensor | None = None, uniform: Tensor | None = None
) -> dict[str, float]:
    rows = mean.shape[:-1].numel()
    paired = min(rows, latents.PAIRED, latents.rows_at_most(mean.shape[-1]))
    given = {
        "mean": mean,
        "log_variance": log_variance,
        "valid": torch.ones(rows) if valid is None else valid,
        "noise": noise(paired, mean.shape[-1]),
    }
    if uniform is not None:
        given["uniform"] = uniform
    row = latents.measure(given)
    specs = latents.series("")
    assert len(row) == len(specs)
    return dict(zip((spec.statistic for spec in specs), row.tolist(), strict=True))


def noise(rows: int, width: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(9))


def by_hand(mean: Tensor, log_variance: Tensor) -> dict[str, float]:
    """The definitions; the information of the first PAIRED rows."""
    mu, lv = mean.double().numpy(), log_variance.double().numpy()
    rows, width = mu.shape
    kl = [
        math.fsum(0.5 * (m * m + math.exp(v) - v - 1) for m, v in zip(mu[:, j], lv[:, j], strict=True)) / rows
        for j in range(width)
    ]
    total = math.fsum(kl)
    active = sum(float(np.var(mu[:, j], ddof=1)) > 0.01 for j in range(width))
    paired = min(rows, latents.PAIRED)
    z = mu[:paired] + noise(paired, width).double().numpy() * np.exp(0.5 * lv[:paired])

    def density(i: int, j: int) -> float:
        return -0.5 * math.fsum((z[i] - mu[j]) ** 2 * np.exp(-lv[j]) + lv[j])

    gains = []
    for i in range(paired):
        all_of_them = [density(i, j) for j in range(paired)]
        peak = max(all_of_them)
        mixture = peak + math.log(math.fsum(math.exp(d - peak) for d in all_of_them) / paired)
        gains.append(all_of_them[i] - mixture)
    return {
        "latent_kl": total,
        "latent_kl_max": max(kl),
        "latent_kl_min_share": min(kl) / total,
        "latent_kl_dimensions": math.exp(-math.fsum(k / total * math.log(k / total) for k in kl)),
        "latent_active": active,
        "latent_active_share": active / width,
        "latent_information": math.fsum(gains) / paired,
        "n_eff": rows,
        "nonfinite_count": 0,
    }


@pytest.mark.parametrize(("rows", "width"), [(2, 3), (50, 1), (80, 7), (300, 12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_readings_agree_with_their_definitions(rows: int, width: int, dtype: torch.dtype) -> None:
    mean, log_variance = (x.to(dtype) for x in posterior(rows, width))
    assert read(mean, log_variance) == pytest.approx(by_hand(mean, log_variance), rel=2e-5, abs=1e-6)


def test_a_posterior_that_is_the_prior_says_nothing() -> None:
    readings = read(torch.zeros(100, 6), torch.zeros(100, 6))
    assert readings.pop("n_eff") == 100
    assert readings == pytest.approx(dict.fromkeys(readings, 0.0), abs=1e-6)


def test_a_posterior_that_ignores_its_input_is_collapsed_even_with_a_divergence() -> None:
    mean, log_variance = torch.full((100, 6), 0.7), torch.full((100, 6), -1.0)
    readings = read(mean, log_variance)
    assert readings["latent_kl"] > 1
    assert readings["latent_active"] == 0
    assert readings["latent_information"] == pytest.approx(0, abs=1e-6)
    assert readings["latent_kl_dimensions"] == pytest.approx(6, rel=1e-5)


def test_posteriors_far_apart_reach_the_ceiling_of_what_can_be_told() -> None:
    mean, log_variance = posterior(200, 8)
    readings = read(100 * mean, log_variance)
    assert readings["latent_information"] == pytest.approx(math.log(200), abs=1e-4)
    readings = read(mean, log_variance.new_full((200, 8), -200.0))
    assert readings["latent_information"] == pytest.approx(math.log(200), abs=1e-4)


def test_a_divergence_of_almost_nothing_keeps_its_digits() -> None:
    log_variance = torch.full((50, 4), 1e-3)
    exact = 4 * 0.5 * (math.expm1(float(log_variance[0, 0])) - float(log_variance[0, 0]))
    assert read(torch.zeros(50, 4), log_variance)["latent_kl"] == pytest.approx(exact, rel=1e-3)


def test_a_large_offset_of_the_means_does_not_make_units_active() -> None:
    mean = torch.randn(400, 5, generator=torch.Generator().manual_seed(1)) * 0.05 + 1000
    assert read(mean, torch.zeros(400, 5))["latent_active"] == 0
    mean[:, 2] += torch.linspace(0, 3, 400)
    assert read(mean, torch.zeros(400, 5))["latent_active"] == 1


def test_one_dimension_that_says_everything() -> None:
    mean = torch.zeros(100, 10)
    mean[:, 4] = torch.linspace(-3, 3, 100)
    readings = read(mean, torch.zeros(100, 10))
    assert readings["latent_kl_dimensions"] == pytest.approx(1, abs=1e-5)
    assert readings["latent_kl_max"] == readings["latent_kl"]
    assert readings["latent_kl_min_share"] == 0
    assert readings["latent_active"] == 1


def test_rows_that_are_masked_or_not_finite_are_left_out() -> None:
    mean, log_variance = posterior(300, 6)
    valid = torch.arange(300) >= 260
    only = read(mean[260:], log_variance[260:])
    masked = read(mean, log_variance, valid)
    for name in ("latent_kl", "latent_kl_max", "latent_kl_min_share", "latent_active", "n_eff"):
        assert masked[name] == pytest.approx(only[name], rel=1e-5), name
    assert math.isnan(masked["latent_information"])  # of the rows that are compared none counts
    mean[3, 2], log_variance[5, 0], log_variance[7, 1] = math.nan, math.inf, -math.inf
    log_variance[9, 3] = 100.0  # a variance beyond float32
    keep = torch.ones(300, dtype=torch.bool)
    keep[[3, 5, 7, 9]] = False
    clean, dirty = read(mean[keep], log_variance[keep]), read(mean, log_variance)
    assert dirty.pop("nonfinite_count") == 4
    assert dirty.pop("latent_information") == pytest.approx(clean.pop("latent_information"), rel=0.05)
    clean.pop("nonfinite_count")
    assert dirty == pytest.approx(clean, rel=1e-5)


def test_mostly_bad_rows_say_nothing_and_neither_do_too_few() -> None:
    mean, log_variance = posterior(20, 4)
    mean[:11] = math.nan
    readings = read(mean, log_variance)
    assert (readings.pop("n_eff"), readings.pop("nonfinite_count")) == (9, 11)
    assert all(math.isnan(value) for value in readings.values())
    mean, log_variance = posterior(1, 4)
    one = read(mean, log_variance)
    assert one["latent_kl"] == pytest.approx(by_hand_kl(mean, log_variance), rel=1e-5)
    assert math.isnan(one["latent_active"])
    assert math.isnan(one["latent_information"])
    none = read(torch.zeros(0, 4), torch.zeros(0, 4))
    assert none.pop("n_eff") == none.pop("nonfinite_count") == 0
    assert all(math.isnan(value) for value in none.values())


def by_hand_kl(mean: Tensor, log_variance: Tensor) -> float:
    pairs = zip(mean.double().flatten().tolist(), log_variance.double().flatten().tolist(), strict=True)
    return math.fsum(0.5 * (m * m + math.exp(v) - v - 1) for m, v in pairs)


def test_the_order_of_the_rows_changes_no_divergence() -> None:
    mean, log_variance = posterior(200, 6)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(2))
    plain, other = read(mean, log_variance), read(mean[order], log_variance[order])
    assert other.pop("latent_information") == pytest.approx(plain.pop("latent_information"), rel=0.05)
    assert other == pytest.approx(plain, rel=1e-5)


def test_of_many_rows_a_sample_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latents, "VALUES", 1 << 10)
    mean, log_variance = posterior(2000, 4)
    assert latents.rows_at_most(4) == latents.FEWEST_ROWS
    uniform = torch.rand(2000, generator=torch.Generator().manual_seed(3))
    readings = read(mean, log_variance, uniform=uniform)
    taken = uniform.topk(512, sorted=False).indices
    expected = by_hand(mean[taken], log_variance[taken])
    assert readings == pytest.approx(expected, rel=2e-5)


def test_a_loop_shows_its_posterior() -> None:
    images = posterior(2 * 9, 5)
    channels_first = [x.view(2, 3, 3, 5).movedim(-1, 1) for x in images]
    with recording() as recorded:
        for seed in range(2):
            recorded.run.observe.latents("z", *posterior(40, 5, seed))
            recorded.run.observe.latents("image", *channels_first)
            recorded.run.observe.latents(
                "text", *(x.view(2, 20, 5) for x in posterior(40, 5)), mask=torch.ones(2, 20)
            )
            recorded.run.step()
        found = recorded.columns("latent_kl{place=z}").values
        assert found.tolist() == pytest.approx(
            [by_hand(*posterior(40, 5, seed))["latent_kl"] for seed in range(2)], rel=1e-5
        )
        assert recorded.columns("latent_kl{place=image}").values[0] == pytest.approx(
            by_hand(*images)["latent_kl"], rel=1e-5
        )
        assert recorded.columns("n_eff{place=image}").values[0] == 18
        assert (
            recorded.columns("latent_active{place=text}").values[0]
            == by_hand(*posterior(40, 5))["latent_active"]
        )
        assert 0 < recorded.columns("latent_information{place=z}").values[0] < math.log(40) + 1e-3


def test_showing_a_posterior_leaves_the_user_s_random_numbers_alone() -> None:
    with recording() as recorded:
        before = torch.get_rng_state()
        recorded.run.observe.latents("z", *posterior(40, 5))
        recorded.run.step()
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda o: o.latents("z", 1.0, torch.zeros(4, 2)), r"mean is a float; pass a torch tensor"),
        (
            lambda o: o.latents("z", torch.zeros(4), torch.zeros(4)),
            r"mean has shape \[4\]; pass \[batch, width\]",
        ),
        (
            lambda o: o.latents("z", torch.zeros(4, 2), torch.zeros(4, 3)),
            r"log_variance has shape \[4, 3\]; pass one entry per mean: \[4, 2\]",
        ),
        (
            lambda o: o.latents("z", torch.zeros(4, 2), torch.zeros(4, 2), mask=torch.ones(5)),
            r"mask has shape \[5\]; pass one entry per row: \[4\]",
        ),
    ],
)
def test_a_wrong_argument_is_told_what_to_be(call: object, sentence: str) -> None:
    with recording() as recorded, pytest.raises(ValueError, match=sentence):
        call(recorded.run.observe)  # type: ignore[operator]
