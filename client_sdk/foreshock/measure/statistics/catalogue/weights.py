"""Spectra of weight matrices."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "representation"

STATISTICS: tuple[Statistic, ...] = (
    Statistic(
        name="weight_spectral_norm",
        family=FAMILY,
        title="Largest singular value of a weight",
        low=0.0,
        formula="σ₁(W) = max ‖W v‖/‖v‖",
        source="power iteration from the last direction found, the first time eight steps of Lanczos; as a sign: Zhai et al. 2023, arXiv:2303.06296",
        degenerate="0 for zero weights; NaN when one is not finite",
        healthy="grows slowly, then levels off",
        collapsed="more than doubles within 1000 steps: attention logits or activations will follow",
        cost="spectral",
        caveats=(
            "a lower bound, a percent or so too low for matrices near their random start, and weight_spectral_residual says how well it"
            " is found; weights that are sharded over ranks are left out"
        ),
        merge="max",
    ),
    Statistic(
        name="weight_stable_rank",
        family=FAMILY,
        title="Stable rank of a weight",
        unit="directions",
        low=0.0,
        formula="‖W‖_F²/σ₁²",
        source="Rudelson & Vershynin 2007, arXiv:math/0503442",
        degenerate="0 for zero weights; NaN when one is not finite",
        healthy="falls slowly from its random start",
        collapsed="below 0.3 of its earlier level: one direction of the weight outgrows the rest",
        cost="spectral",
        caveats="as much too high as the square of the spectral norm is too low",
        merge="mean",
    ),
    Statistic(
        name="weight_spectral_residual",
        family=FAMILY,
        title="How far the power method is from a singular value",
        low=0.0,
        formula="‖WᵀW v − θ v‖/θ, θ = ‖W v‖², v the direction that the power method has come to",
        source="a-posteriori bound: some eigenvalue of WᵀW lies within it of θ, Parlett 1998, The Symmetric Eigenvalue Problem, theorem 4.5.1",
        degenerate="0 for zero weights; NaN when one is not finite",
        healthy="falls from record to record, and is small where one direction stands out",
        collapsed="no sign of a collapse: above 0.1 the spectral norm and the stable rank are not found yet, and their changes are the method's",
        cost="free",
        caveats=(
            "0.005 to 0.08 at the first record of random matrices, whose spectral norm then reads up to 1.6 % too low; it is about an eigenvalue,"
            " not surely the largest"
        ),
        merge="max",
    ),
    Statistic(
        name="weight_effective_rank",
        family=FAMILY,
        title="Effective rank of a weight",
        unit="directions",
        low=0.0,
        formula="exp(−Σ q ln q), q = σ_i²/Σσ²",
        source="SVD entropy of weights, as in Wang et al. 2025, arXiv:2509.26030",
        degenerate="0 for zero weights; NaN when one is not finite",
        healthy="falls slowly; higher under optimizers that update all directions alike",
        collapsed="falls to half of its earlier level; rare tokens and classes are learned last or not at all",
        cost="gram",
        caveats='off by default: every={"weight_spectra": 1000}',
    ),
    Statistic(
        name="weight_tail_exponent",
        family=FAMILY,
        title="Power-law exponent of a weight's spectrum",
        low=1.0,
        formula="α = 1 + n/Σ ln(λ_i/λ_min), λ_i ≥ λ_min eigenvalues of WᵀW, λ_min with the smallest Kolmogorov–Smirnov distance",
        source="Martin & Mahoney 2021, arXiv:1810.01075, 2002.06716; fit: Clauset, Shalizi & Newman 2009, arXiv:0706.1062",
        degenerate="NaN with fewer than 50 eigenvalues above rounding",
        healthy="2 to 6 in well trained layers, as the papers report",
        collapsed="below 2: over-fitted or one direction dominates; above 6: hardly trained",
        cost="gram",
        caveats='off by default: every={"weight_spectra": 1000}; believe it only where the distance beside it is below 0.1',
    ),
    Statistic(
        name="weight_tail_fit",
        family=FAMILY,
        title="Distance of a weight's spectrum from its power law",
        low=0.0,
        high=1.0,
        formula="max over λ ≥ λ_min of |share of eigenvalues above λ − (λ/λ_min)^(1−α)|",
        source="Clauset, Shalizi & Newman 2009, arXiv:0706.1062, equation 3.9",
        degenerate="NaN with fewer than 50 eigenvalues above rounding",
        healthy="below 0.1",
        collapsed="above 0.1 the tail is no power law, and its exponent means nothing",
        cost="free",
    ),
)
