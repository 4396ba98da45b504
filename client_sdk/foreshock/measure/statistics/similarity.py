"""Two representations of the same samples in; how much alike they are, and how far the later one has drifted, out.

Shape suffixes: M samples (at most ROWS), D and E widths; the first may be longer: N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .picking import pick
from .rows import CONSTANT, TINY, Rows, prepare

ROWS = 512  # samples that are compared
DRIFT = ("cka", "mean_drift", "covariance_drift", "n_eff")


@dataclass(frozen=True)
class Baseline:
    """The first usable record of a fixed batch, on its device."""

    centred: Tensor  # [M, D]
    good: Tensor  # [M]
    mean: Tensor  # [D]
    shrink: Tensor
    known: Tensor  # 1.0 once there is one


def chosen(rows: int, device: torch.device) -> Tensor:
    """Which samples are compared: evenly spaced, the same at every call."""
    taken = min(rows, ROWS)
    return torch.arange(taken, device=device).mul(rows / taken).long()


def few(x: Tensor, valid_N: Tensor, chosen_M: Tensor) -> Rows:
    """Those samples, prepared."""
    return prepare(pick(x, chosen_M), valid_N.index_select(0, chosen_M))


def cka(a: Rows, b: Rows) -> Tensor:
    """Debiased linear centred kernel alignment of two prepared matrices over the rows that count in both; NaN below four."""
    return alignment(a.centred, b.centred, a.good * b.good).masked_fill(a.bad.logical_or(b.bad), math.nan)


def alignment(a_MD: Tensor, b_ME: Tensor, weight_M: Tensor) -> Tensor:
    """The same of rows near their mean, and weights 0 or 1."""
    k_MM, l_MM = _kernel(a_MD, weight_M), _kernel(b_ME, weight_M)
    n = weight_M.sum()
    k_M, l_M = k_MM.sum(1), l_MM.sum(1)
    sums_2 = torch.stack([k_M.sum(), l_M.sum()])
    dots_3 = torch.stack([(k_MM * l_MM).sum(), k_MM.square().sum(), l_MM.square().sum()])
    along_3 = torch.stack([k_M.dot(l_M), k_M.dot(k_M), l_M.dot(l_M)])
    products_3 = torch.stack([sums_2.prod(), *sums_2.square().unbind()])
    # HSIC₁ of Song et al. 2012, of which the factor n(n − 3) cancels.
    between, own_a, own_b = (
        dots_3 + products_3 / ((n - 1.0) * (n - 2.0)) - 2.0 / (n - 2.0) * along_3
    ).unbind()
    floor = CONSTANT * dots_3  # of constant rows nothing but rounding is left
    nothing = (own_a <= floor.select(0, 1)).logical_or_(own_b <= floor.select(0, 2)).logical_or_(n < 4)
    return (between / (own_a * own_b).clamp_min(TINY).sqrt()).masked_fill(nothing, math.nan)


def drift(rows: Rows, baseline: Baseline) -> tuple[Tensor, Baseline]:
    """The readings of DRIFT against the baseline, which these rows become when there is none and they are usable."""
    first = (1.0 - baseline.known) * rows.bad.logical_not()

    def frozen(kept: Tensor, now: Tensor) -> Tensor:
        return torch.where(first > 0, now, kept)

    baseline = Baseline(
        centred=frozen(baseline.centred, rows.centred),
        good=frozen(baseline.good, rows.good),
        mean=frozen(baseline.mean, rows.mean),
        shrink=frozen(baseline.shrink, rows.shrink),
        known=torch.maximum(baseline.known, first),
    )
    both_M = rows.good * baseline.good
    n = both_M.sum()
    ratio = baseline.shrink / rows.shrink  # brings these rows to the scale of the baseline's
    now_MD = rows.centred * (both_M * ratio).unsqueeze(1)
    then_MD = baseline.centred * both_M.unsqueeze(1)
    energy = then_MD.square().sum()
    moved = (rows.mean * ratio - baseline.mean).square().sum() * n / energy
    cross_3 = torch.stack(
        [
            torch.linalg.vector_norm(p @ q.t())
            for p, q in ((now_MD, now_MD), (now_MD, then_MD), (then_MD, then_MD))
        ]
    ).square()
    difference = (cross_3.select(0, 0) - 2.0 * cross_3.select(0, 1) + cross_3.select(0, 2)).clamp_min(0.0)
    changed = (difference / cross_3.select(0, 2)).sqrt()
    values = torch.stack([alignment(rows.centred, baseline.centred, both_M), moved, changed])
    constant = energy <= CONSTANT * torch.addcmul(energy, n, baseline.mean.square().sum())
    useless = rows.bad.logical_or(n < 2).logical_or(baseline.known == 0).logical_or(constant)
    return torch.cat([values.masked_fill(useless, math.nan), rows.count.unsqueeze(0)]), baseline


def empty(rows: Rows) -> Baseline:
    """No baseline yet, for rows of this shape."""
    return Baseline(
        torch.zeros_like(rows.centred),
        torch.zeros_like(rows.good),
        torch.zeros_like(rows.mean),
        torch.ones_like(rows.shrink),
        torch.zeros_like(rows.shrink),
    )


def _kernel(x_MD: Tensor, weight_M: Tensor) -> Tensor:
    """x xᵀ over the rows that count, scaled to unit Frobenius norm, its diagonal zero."""
    x_MD = x_MD * weight_M.unsqueeze(1)
    matrix_MM = (x_MD @ x_MD.t()).fill_diagonal_(0.0)
    size: Tensor = torch.linalg.vector_norm(matrix_MM)
    return matrix_MM / size.clamp_min(TINY)
