"""Every statistic that the SDK computes: its name, family, unit, range, source, and what it reads when there is nothing to read.

Importing this needs no torch: the recorder and the tests read it as data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from foreshock.series import SeriesSpec

POLICY, SIGNAL, REPRESENTATION, OPTIMISER, NUMERICS, TRAINING = (
    "policy entropy",
    "RL signal",
    "representation",
    "optimiser",
    "numerics",
    "training",
)


@dataclass(frozen=True)
class Statistic:
    """One kind of number. Every one reads NaN when more than half of its rows are not finite."""

    name: str
    family: str
    unit: str
    title: str
    low: float | None
    high: float | None
    source: str
    degenerate: str  # what it reads when its input carries no information

    def series(self, place: str = "", labels: Mapping[str, str] | None = None) -> SeriesSpec:
        """This statistic of one place in the model."""
        return SeriesSpec(
            statistic=self.name,
            family=self.family,
            unit=self.unit,
            place=place,
            labels=tuple(sorted((labels or {}).items())),
            title=self.title,
            low=self.low,
            high=self.high,
            source=self.source,
        )


_NO_TOKENS = "NaN without valid tokens"
_FEW_ROWS = "NaN with fewer than two valid rows"
_C1 = "max-centred online pass over the logits in float32"
_CUI = "Cui et al. 2025, arXiv:2505.22617, Cov(ln π, A)"
_SCHULMAN = "Schulman 2020, Approximating KL Divergence"
_GROUPS = "share of groups with max r = min r; DAPO, Yu et al. 2025, arXiv:2503.14476 (dynamic sampling)"
_VON_NEUMANN = "exp of the von Neumann entropy of the covariance; Giraldo et al. 2014, arXiv:1211.2459"
_PR = (
    "(Σλ)²/Σλ², unbiased; uncentred: U-statistic over pairs of rows; centred: Himeno & Yamada 2014,"
    " J. Multivariate Anal. 130, estimators of (tr Σ)² and tr Σ²"
)
_OPTIMISER_TIME = "read when the optimizer steps: after the loop's own clipping"


def _statistics() -> list[Statistic]:
    policy = [
        ("policy_entropy", "nat", "Token entropy of the policy, mean", 0.0, None, f"−Σ p ln p; {_C1}"),
        (
            "policy_entropy_normalized",
            "",
            "Token entropy over its maximum ln V",
            0.0,
            1.0,
            f"H / ln V; {_C1}",
        ),
        (
            "policy_varentropy",
            "nat²",
            "Variance of −ln p within a token",
            0.0,
            None,
            "Kontoyiannis & Verdú 2014, Var_p[−ln p]",
        ),
        (
            "policy_top1",
            "",
            "Probability of the likeliest token, mean",
            0.0,
            1.0,
            f"1/Σ exp(z − max z); {_C1}",
        ),
        ("policy_top1_above_99", "share", "Tokens whose likeliest choice has p > 0.99", 0.0, 1.0, _C1),
        (
            "policy_lse",
            "nat",
            "Log-sum-exp of the logits, mean",
            None,
            None,
            "Chowdhery et al. 2022, PaLM, arXiv:2204.02311 (z-loss term)",
        ),
    ]
    quantiles = [
        (f"policy_entropy_p{level:02d}", "nat", f"Token entropy, {level}th percentile", 0.0, None, _C1)
        for level in ENTROPY_PERCENTILES
    ]
    signal = [
        ("policy_cov", "nat", "Covariance of ln π and advantage", None, None, _CUI),
        (
            "policy_cov_above_1",
            "share",
            "Tokens whose covariance term exceeds 1",
            0.0,
            1.0,
            f"{_CUI}, clip-cov bounds",
        ),
        (
            "policy_cov_above_5",
            "share",
            "Tokens whose covariance term exceeds 5",
            0.0,
            1.0,
            f"{_CUI}, clip-cov bounds",
        ),
        *(
            (f"kl_{to}_{k}", "nat", f"KL to the {name} policy, {k}", low, None, f"{_SCHULMAN}: {form}")
            for to, name, ks in (("ref", "reference", ("k1", "k2", "k3")), ("old", "rollout", ("k1", "k3")))
            for k, low, form in (
                ("k1", None, "ln π − ln π_ref, clamped to ±20"),
                ("k2", 0.0, "½ k1²"),
                ("k3", 0.0, "exp(−k1) − 1 + k1"),
            )
            if k in ks
        ),
        ("advantage_std", "", "Standard deviation of the advantage", 0.0, None, "population form"),
        ("reward_mean", "", "Mean reward", None, None, "mean over sequences"),
        ("reward_std", "", "Standard deviation of the reward", 0.0, None, "population form, over sequences"),
        ("zero_variance_groups", "share", "Groups whose rewards are all equal", 0.0, 1.0, _GROUPS),
        ("zero_variance_all_high", "share", "Groups whose rewards are all equal and high", 0.0, 1.0, _GROUPS),
        ("zero_variance_all_low", "share", "Groups whose rewards are all equal and low", 0.0, 1.0, _GROUPS),
    ]
    representation = [
        (
            "effective_rank",
            "",
            "Effective rank",
            0.0,
            None,
            _VON_NEUMANN,
            f"0 for an all-zero matrix; {_FEW_ROWS}",
        ),
        (
            "effective_rank_normalized",
            "",
            "Entropy of the spectrum over its maximum",
            0.0,
            1.0,
            "S / ln min(n, d)",
            f"0 for an all-zero matrix; NaN for one column; {_FEW_ROWS}",
        ),
        (
            "participation_ratio",
            "",
            "Participation ratio",
            0.0,
            None,
            _PR,
            "0 for an all-zero matrix, and centred for constant rows; clamped to 1…d; NaN with fewer than two valid rows, centred four",
        ),
        (
            "embedding_std",
            "",
            "Spread of the unit-length embeddings",
            0.0,
            1.0,
            "√d · mean_j std_j(x/‖x‖); Chen & He 2021, SimSiam, arXiv:2011.10566",
            f"0 when all rows are equal; {_FEW_ROWS}",
        ),
        (
            "mean_cosine",
            "",
            "Mean cosine between two embeddings",
            -1.0,
            1.0,
            "(‖Σ x̂‖² − n)/(n(n−1)); Ethayarajh 2019, arXiv:1909.00512",
            "NaN with fewer than two rows that are not zero",
        ),
        (
            "mean_share",
            "",
            "Share of the energy in the mean vector",
            0.0,
            1.0,
            "n‖x̄‖²/‖X‖²; Dong et al. 2021, arXiv:2103.03404 (rank collapse)",
            f"0 for an all-zero matrix; {_FEW_ROWS}",
        ),
        (
            "class_variability",
            "",
            "Width of the classes over the distance between them",
            0.0,
            None,
            "tr Σ_W / tr Σ_B; Papyan, Han & Donoho 2020, arXiv:2008.08186 (NC1, trace form)",
            "NaN with fewer than two classes",
        ),
        ("n_eff", "rows", "Rows measured", 0.0, None, "valid, finite, sampled rows", "0 without valid rows"),
        (
            "alignment",
            "",
            "Distance of the two views of one sample",
            0.0,
            4.0,
            "mean ‖x̂ − x̂⁺‖²; Wang & Isola 2020, arXiv:2005.10242",
            "NaN without valid pairs",
        ),
    ]
    optimiser = [
        (
            "gradient_norm",
            "",
            "Norm of the gradient",
            0.0,
            None,
            f"‖g‖; {_OPTIMISER_TIME}",
            "0 for zero gradients",
        ),
        ("weight_norm", "", "Norm of the weights", 0.0, None, "‖W‖ before the update", "0 for zero weights"),
        (
            "update_ratio",
            "",
            "Size of the update over size of the weights",
            0.0,
            None,
            "‖W_after − W_before‖/‖W_before‖ over at most 65536 strided coordinates",
            "0 when nothing moved; infinite when all-zero weights moved",
        ),
    ]
    numerics = [
        (
            "nonfinite_count",
            "values",
            "NaN and infinite values",
            0.0,
            None,
            "exact count",
            "0 without values",
        ),
    ]
    return [
        *(Statistic(n, POLICY, u, t, lo, hi, s, _NO_TOKENS) for n, u, t, lo, hi, s in (*policy, *quantiles)),
        *(
            Statistic(n, SIGNAL, u, t, lo, hi, s, _SIGNAL_EMPTY.get(n, _NO_TOKENS))
            for n, u, t, lo, hi, s in signal
        ),
        *(Statistic(n, REPRESENTATION, u, t, lo, hi, s, e) for n, u, t, lo, hi, s, e in representation),
        *(Statistic(n, OPTIMISER, u, t, lo, hi, s, e) for n, u, t, lo, hi, s, e in optimiser),
        *(Statistic(n, NUMERICS, u, t, lo, hi, s, e) for n, u, t, lo, hi, s, e in numerics),
    ]


ENTROPY_PERCENTILES = (5, 25, 50, 80, 95, 99)
_SIGNAL_EMPTY = {
    "reward_mean": "NaN without rewards",
    "reward_std": "NaN with fewer than two rewards",
    "advantage_std": "NaN with fewer than two advantages",
    **dict.fromkeys(
        ("zero_variance_groups", "zero_variance_all_high", "zero_variance_all_low"),
        "NaN without a group of two or more; a group of one is not counted",
    ),
}

STATISTICS: Mapping[str, Statistic] = {statistic.name: statistic for statistic in _statistics()}
