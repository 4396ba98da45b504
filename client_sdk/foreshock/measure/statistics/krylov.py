"""A Gram matrix in; what the host needs to estimate its whole spectrum from a few products with it out.

The largest eigenvalues come from a block Krylov basis, the rest from stochastic Lanczos quadrature in its complement.
No step depends on a value, so shapes and operators are always the same.
Shape suffixes: M side, B block, K = B·DEPTH basis, P probes, L steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from foreshock.measure.problems.krylov import BLOCK, DEPTH, PROBES, STEPS, Krylov

from .part import Part
from .rows import TINY
from .spectrum import Product
from .table import STATISTICS

SMALLEST = 2 * BLOCK * DEPTH  # side below which the exact spectrum costs less
REFILL = 1e-2  # random directions mixed into each block: where the space is exhausted they find the rest of the range
FILL = 1e-6  # of the largest column, mixed in after the product: where the range is exhausted nothing is divided by zero

Apply = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Draws:
    """Random numbers of one side, the same at every record, so that a series does not jitter with them."""

    start: Tensor  # [M, B], normal
    refill: Tensor  # [M, B], normal
    signs: Tensor  # [M, P], −1 and 1

    @classmethod
    def of(cls, side: int, generator: torch.Generator, device: torch.device) -> Draws:
        """Drawn once per side."""
        normal_2MB = torch.randn(2, side, BLOCK, generator=generator, device=device)
        signs_MP = torch.randint(0, 2, (side, PROBES), generator=generator, device=device)
        return cls(
            normal_2MB.select(0, 0), normal_2MB.select(0, 1) / side**0.5, signs_MP.float().mul_(2.0).sub_(1.0)
        )


def sketch(product: Product, draws: Draws) -> tuple[Tensor, Krylov]:
    """The payload, of the centred matrix, and its problem."""
    side = product.problem.side
    trace = product.scalars.select(0, 2)
    scale = side / trace.clamp_min(TINY)
    apply = _operator(product, scale)
    basis_MK = _basis(apply, draws)
    image_MK = apply(basis_MK)
    small_KK = basis_MK.t() @ image_MK
    alpha_LP, beta_LP = _lanczos(apply, basis_MK, draws.signs)
    problem = Krylov(product.problem.rows, product.problem.width, product.problem.rounding)
    squares = torch.stack([product.square * scale * scale, torch.linalg.vector_norm(image_MK).square()])
    parts = [
        small_KK.reshape(-1),
        alpha_LP.reshape(-1),
        beta_LP.reshape(-1),
        squares,
        product.scalars.narrow(0, 0, 3),
    ]
    return torch.cat(parts), problem


def _operator(product: Product, scale: Tensor) -> Apply:
    """Products with the centred matrix times ``scale``."""
    matrix_MM = product.matrix
    if product.problem.centred:
        return lambda v_MX: (matrix_MM @ v_MX) * scale
    # Less what the mean contributes, never formed.
    first_M, second_M, factor = product.first, product.second, product.scalars.select(0, 3)
    if product.problem.dual:
        left_M2 = torch.stack([first_M, second_M], 1)
        right_M2 = torch.stack([second_M, first_M + factor * second_M], 1)
    else:
        left_M2, right_M2 = (factor * first_M).unsqueeze(1), second_M.unsqueeze(1)
    return lambda v_MX: (matrix_MM @ v_MX - left_M2 @ (right_M2.t() @ v_MX)) * scale


def _basis(apply: Apply, draws: Draws) -> Tensor:
    """Orthonormal [M, K], spanning G·R, G²·R, …"""
    block_MB = apply(draws.start)
    largest = torch.linalg.vector_norm(block_MB, dim=0).amax().clamp_min(TINY)
    noise_MB = draws.refill * (FILL * largest)
    block_MB = _orthonormal(block_MB + noise_MB, 3)
    basis_MK = block_MB
    for step in range(1, DEPTH):
        next_MB = apply(block_MB + REFILL * draws.refill.roll(step, 0)) + noise_MB.roll(step, 0)
        for _ in range(2):
            next_MB = next_MB - basis_MK @ (basis_MK.t() @ next_MB)
        next_MB = _orthonormal(next_MB, 2)
        next_MB = next_MB - basis_MK @ (basis_MK.t() @ next_MB)
        block_MB = _orthonormal(next_MB, 2)
        basis_MK = torch.cat([basis_MK, block_MB], 1)
    return basis_MK


def _orthonormal(y_MB: Tensor, rounds: int) -> Tensor:
    """Shifted Cholesky QR, repeated (Fukaya et al. 2020): no operator that could fail or wait."""
    width = y_MB.shape[1]
    identity = torch.eye(width, device=y_MB.device)
    for turn in range(rounds):
        y_MB = y_MB / torch.linalg.vector_norm(y_MB, dim=0).clamp_min(TINY)
        square = y_MB.t() @ y_MB + identity * (1e-6 * width if turn == 0 else 2e-7)
        root, _ = torch.linalg.cholesky_ex(square, check_errors=False)
        y_MB = torch.linalg.solve_triangular(root, y_MB.t(), upper=False).t()
    return y_MB


def _lanczos(apply: Apply, basis_MK: Tensor, signs_MP: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonals [L, P] and the links between them [L − 1, P], of G seen from the complement of the basis."""
    v_MP = signs_MP - basis_MK @ (basis_MK.t() @ signs_MP)
    v_MP = v_MP / torch.linalg.vector_norm(v_MP, dim=0).clamp_min(TINY)
    earlier: list[Tensor] = []
    alphas: list[Tensor] = []
    betas: list[Tensor] = []
    for step in range(STEPS):
        earlier.append(v_MP)
        next_MP = apply(v_MP)
        next_MP = next_MP - basis_MK @ (basis_MK.t() @ next_MP)
        alphas.append((next_MP * v_MP).sum(0))
        if step == STEPS - 1:
            break
        before_LMP = torch.stack(earlier)
        for _ in range(2):
            next_MP = next_MP - (before_LMP * (before_LMP * next_MP).sum(1, keepdim=True)).sum(0)
        beta_P = torch.linalg.vector_norm(next_MP, dim=0)
        beta_P = beta_P * (beta_P > 1e-6 * alphas[0].abs())  # an exhausted space: what follows stands alone
        betas.append(beta_P)
        v_MP = next_MP / beta_P.clamp_min(TINY) * (beta_P > 0)
    return torch.stack(alphas), torch.stack(betas)


def to_finish(product: Product, draws: Draws, place: str, *, wide: bool) -> Part:
    """The same as a problem for the host."""
    payload, problem = sketch(product, draws)
    return Part(
        "krylov",
        problem,
        lambda: payload,
        lambda: [
            STATISTICS[name].series(
                place, {**labels, **({"columns": str(product.problem.width)} if wide else {})}
            )
            for name, labels in problem.readings
        ],
    )
