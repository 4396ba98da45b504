"""Weight matrices and a direction of each in; their largest singular values, how well these are found, stable ranks and better directions out.

Shape suffixes: R rows, C columns of one weight; L Lanczos steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .rows import TINY

YIELDS = ("weight_spectral_norm", "weight_stable_rank", "weight_spectral_residual")
STEPS = 8  # of Lanczos, the first time
ITERATIONS = 2  # of the power method, every time after it
SQUARINGS = 10  # of the small matrix whose largest eigenvector is wanted
CHUNK = 1 << 24  # values made float32 at a time


def first(weight_RC: Tensor, direction_C: Tensor) -> Tensor:
    """A direction [C] of unit length near the largest right singular vector, from any one: STEPS of Lanczos on Wᵀ W."""
    basis: list[Tensor] = []
    scales: list[Tensor] = []
    links: list[Tensor] = []
    next_C = direction_C
    for _ in range(min(STEPS, min(weight_RC.shape))):
        length = torch.linalg.vector_norm(next_C)
        # An exhausted space leaves rounding: a zero vector takes no part any more.
        v_C = (next_C / length.clamp_min(TINY)) * (length > 1e-6 * _scale(scales, length))
        basis.append(v_C)
        links.append(length)
        product_C = _transposed(weight_RC, _product(weight_RC, v_C))
        scales.append(v_C.dot(product_C))
        basis_LC = torch.stack(basis)
        next_C = product_C - (basis_LC @ product_C) @ basis_LC
        next_C = next_C - (basis_LC @ next_C) @ basis_LC
    tridiagonal_LL = torch.diag(torch.stack(scales))
    if len(links) > 1:
        beside = torch.stack(links[1:])
        tridiagonal_LL = tridiagonal_LL + torch.diag(beside, 1) + torch.diag(beside, -1)
    power_LL = tridiagonal_LL / torch.linalg.vector_norm(tridiagonal_LL).clamp_min(TINY)
    for _ in range(SQUARINGS):
        power_LL = power_LL @ power_LL
        power_LL = power_LL / torch.linalg.vector_norm(power_LL).clamp_min(TINY)
    found_C = power_LL.select(0, 0) @ torch.stack(basis)
    return _better(found_C, direction_C)


def improve(weight_RC: Tensor, direction_C: Tensor) -> tuple[Tensor, Tensor]:
    """Largest singular value, from below, and how far it is from being one, [2]; and the direction after ITERATIONS of the power
    method.

    How far: ‖WᵀW v − θ v‖ / θ of the last direction v that was improved, θ = ‖W v‖²: some eigenvalue of WᵀW lies within that share
    of θ.
    """
    found = direction_C.sum().expand(2)
    for _ in range(ITERATIONS):
        image_R = _product(weight_RC, direction_C)
        back_C = _transposed(weight_RC, image_R)
        size = torch.linalg.vector_norm(image_R).clamp_min(TINY)
        apart = torch.linalg.vector_norm(back_C / size - size * direction_C)
        found = torch.stack([torch.linalg.vector_norm(back_C) / size, apart / size])
        direction_C = _better(back_C, direction_C)
    return found, direction_C


def readings(weight_RC: Tensor, found_2: Tensor) -> Tensor:
    """Spectral norm, stable rank and residual, [3]; 0 for zero weights, NaN where one is not finite."""
    frobenius = torch.linalg.vector_norm(weight_RC, dtype=torch.float32)
    value, apart = found_2.unbind(0)
    stable = (frobenius / value.clamp_min(TINY)).square()
    row = torch.stack([value, stable, apart]).masked_fill(frobenius == 0, 0.0)
    return row.masked_fill(frobenius.isfinite().logical_not(), math.nan)


def _scale(scales: list[Tensor], length: Tensor) -> Tensor:
    return scales[0].abs() if scales else torch.zeros_like(length)


def _better(found_C: Tensor, kept_C: Tensor) -> Tensor:
    """The new direction at unit length, or the old one when the new one is zero or not finite."""
    length = torch.linalg.vector_norm(found_C)
    usable = (length > 0).logical_and(length.isfinite())
    return torch.where(usable, found_C / length.clamp_min(TINY), kept_C)


def _product(weight_RC: Tensor, v_C: Tensor) -> Tensor:
    """W v in float32; a weight in half precision is converted in parts."""
    if weight_RC.dtype == torch.float32:
        return weight_RC @ v_C
    return torch.cat([part.float() @ v_C for part in _parts(weight_RC)])


def _transposed(weight_RC: Tensor, u_R: Tensor) -> Tensor:
    if weight_RC.dtype == torch.float32:
        return weight_RC.t() @ u_R
    parts = _parts(weight_RC)
    pieces = u_R.chunk(len(parts))
    return torch.stack([part.float().t() @ u for part, u in zip(parts, pieces, strict=True)]).sum(0)


def _parts(weight_RC: Tensor) -> tuple[Tensor, ...]:
    return weight_RC.chunk(-(-weight_RC.numel() // CHUNK))
