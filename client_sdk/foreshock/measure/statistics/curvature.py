"""Products of a Hessian with vectors in; its largest eigenvalue, how well that is found, and its trace out.

Shape suffixes: P parameters, K steps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

YIELDS = ("sharpness", "hessian_trace", "sharpness_residual")
SQUARINGS = 12


def measure(product: Callable[[Tensor], Tensor], start_P: Tensor, steps: int) -> Tensor:
    """Largest eigenvalue, trace and residual of the symmetric matrix that ``product`` multiplies with, [3]: ``steps`` products in all.

    Lanczos from a random start, whose first coefficient is an unbiased sample of the mean eigenvalue. Its vectors are not
    kept orthogonal, so three are held at a time: the copies that this makes of an eigenvalue leave the largest as it is.
    The residual is ‖H v − θ v‖/|θ| of the eigenvalue θ and its vector v: an eigenvalue of H lies within that share of θ. It is had
    from the tridiagonal matrix, its vector's last entry and the last link alone, and is too large rather than too small where
    copies of θ share that vector.
    """
    diagonal, beside = [], []
    v_P = start_P / torch.linalg.vector_norm(start_P)
    before_P, size = torch.zeros_like(v_P), torch.zeros_like(v_P.sum())
    for _ in range(min(steps, len(start_P))):
        next_P = product(v_P) - size * before_P
        diagonal.append((next_P * v_P).sum())
        next_P = next_P - diagonal[-1] * v_P
        size = torch.linalg.vector_norm(next_P)
        beside.append(size)
        before_P, v_P = v_P, next_P / size.masked_fill(size == 0, 1.0)
    diagonal_K = torch.stack(diagonal)
    beside_K = torch.stack(beside).narrow(0, 0, len(beside) - 1)
    top, vector_K = largest(diagonal_K, beside_K)
    within_K = (_tridiagonal(diagonal_K, beside_K) * vector_K).sum(1) - top * vector_K
    beyond = size * vector_K.narrow(0, len(diagonal) - 1, 1)
    apart = (torch.linalg.vector_norm(torch.cat([within_K, beyond])) / top.abs()).masked_fill(top == 0, 0.0)
    return torch.stack([top, diagonal[0] * len(start_P), apart])


def largest(diagonal_K: Tensor, beside_K: Tensor) -> tuple[Tensor, Tensor]:
    """The largest eigenvalue of a symmetric tridiagonal matrix, ``beside_K`` not negative, and its vector: Rayleigh quotient of what
    squaring leaves.

    The shift makes the largest eigenvalue the one of largest size and all entries non-negative, so the columns of the
    power are multiples of one non-negative vector, and their sum is one too. The quotient errs by the square of its error.
    """
    matrix_KK = _tridiagonal(diagonal_K, beside_K)
    shift = torch.linalg.vector_norm(matrix_KK)
    power_KK = matrix_KK + 2.0 * shift * torch.ones_like(diagonal_K).diag()
    for _ in range(SQUARINGS):
        power_KK = power_KK / torch.linalg.vector_norm(power_KK)
        power_KK = (power_KK.unsqueeze(2) * power_KK.unsqueeze(0)).sum(
            1
        )  # exact, whatever precision matmul has
    vector_K = power_KK.sum(1)
    vector_K = vector_K / torch.linalg.vector_norm(vector_K)
    value: Tensor = ((matrix_KK * vector_K).sum(1) * vector_K).sum()
    return value.masked_fill(shift == 0, 0.0), vector_K


def _tridiagonal(diagonal_K: Tensor, beside_K: Tensor) -> Tensor:
    matrix_KK = diagonal_K.diag()
    return matrix_KK + beside_K.diag(1) + beside_K.diag(-1) if len(beside_K) else matrix_KK
