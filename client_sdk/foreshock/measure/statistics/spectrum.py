"""Prepared rows in; participation ratios, and the Gram matrix whose eigenvalues the host takes, out.

Shape suffixes: S rows, D width, M the smaller of the two; 2 uncentred and centred.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from foreshock.measure.problems.gram import Gram

from .rows import Rows

YIELDS = ("participation_ratio", "participation_ratio")  # uncentred, centred
ROUNDING = {torch.bfloat16: 2.0**-9, torch.float16: 2.0**-12}  # unit round-off; the arithmetic is float32
FLOAT32, TENSORFLOAT32 = 2.0**-25, 2.0**-12

_half_product = getattr(torch.ops.aten.mm, "dtype", None)  # (half, half) -> float32 on CUDA, newer torch only


@dataclass(frozen=True)
class Product:
    """A Gram matrix on the device, with what makes the uncentred one of the centred one or the other way round."""

    matrix: Tensor  # [M, M]
    first: Tensor  # [M]
    second: Tensor  # [M]
    scalars: Tensor  # count, energy, centred energy, factor
    square: Tensor  # ‖·‖_F² of the centred matrix
    problem: Gram

    def payload(self) -> Tensor:
        """What the host needs, in one piece."""
        return torch.cat([self.matrix.reshape(-1), self.first, self.second, self.scalars])

    def of_mean(self) -> Tensor:
        """What the mean contributes to the uncentred matrix."""
        if not self.problem.dual:
            return self.scalars.select(0, 3) * self.first.unsqueeze(1) * self.second
        cross = self.first.unsqueeze(1) * self.second
        return cross + cross.t() + self.scalars.select(0, 3) * self.second.unsqueeze(1) * self.second


def gram(rows: Rows, dtype: torch.dtype) -> tuple[Tensor, Product]:
    """Participation ratios uncentred and centred, and the Gram matrix of rows that were of this dtype.

    The Gram is taken of the centred rows, so a large mean costs no digits, and the uncentred one is that plus what the
    mean contributes. Half-precision rows on CUDA are multiplied as they are, exactly and with float32 sums, and the
    centred Gram is that less the contribution.
    """
    height, width = rows.x.shape
    dual = height < width
    exact = rows.native is not None and _half_product is not None
    factor_SD = rows.native if exact and rows.native is not None else rows.centred
    left, right = (factor_SD, factor_SD.t()) if dual else (factor_SD.t(), factor_SD)
    matrix_MM = (
        _half_product(left, right, torch.float32) if exact and _half_product is not None else left @ right
    )

    mean_square = rows.mean.dot(rows.mean)
    square_S, centred_S = rows.squares.unbind()
    along_S = 0.5 * (square_S - centred_S - rows.good * mean_square)  # what each centred row has of the mean
    first, second, third = (along_S, rows.good, mean_square) if dual else (rows.mean, rows.mean, rows.count)
    own = torch.linalg.vector_norm(matrix_MM).square()
    product = Product(
        matrix_MM,
        first,
        second,
        torch.stack([rows.count.masked_fill(rows.bad, math.nan), *rows.energy.unbind(), third]),
        own,
        Gram(height, width, centred=not exact, rounding=_rounding(dtype, rows.x)),
    )

    if exact:
        uncentred = own
        product = replace(product, square=torch.linalg.vector_norm(matrix_MM - product.of_mean()).square())
    else:
        of_mean = rows.count * mean_square
        uncentred = torch.addcmul(own, rows.count, along_S.dot(along_S), value=2.0).addcmul_(of_mean, of_mean)
    ratios_2 = (
        _participation(uncentred, product.square, rows).clamp_(1.0, width).masked_fill_(rows.nothing, 0.0)
    )
    fewest_2 = torch.arange(2, 5, 2, device=ratios_2.device)  # rows, for an unbiased estimate
    return ratios_2.masked_fill_((rows.count < fewest_2).logical_or_(rows.bad), math.nan), product


def _participation(uncentred: Tensor, centred: Tensor, rows: Rows) -> Tensor:
    # Uncentred the average over pairs of different rows. Centred Himeno & Yamada 2014, with S = Gram/(n−1) and
    # Q = Σ‖x_i − x̄‖⁴/(n−1), of which the factor that both estimates share is left out.
    square_2, fourth_2 = rows.energy.square(), rows.squares.square().sum(1)
    n = rows.count
    pairs = n * (n - 1)
    factor = torch.sub(pairs, n, alpha=2) + 1  # n² − 3n + 1
    of_fourth = pairs * fourth_2.select(0, 1)
    upper_2 = torch.stack(
        [
            square_2.select(0, 0) - fourth_2.select(0, 0),
            torch.addcmul(2.0 * centred - of_fourth, factor, square_2.select(0, 1)),
        ]
    )
    lower_2 = torch.stack(
        [
            uncentred - fourth_2.select(0, 0),
            torch.addcmul(square_2.select(0, 1) - of_fourth, factor + 1, centred),
        ]
    )
    # Rows all but orthogonal: the lower estimate is zero or, by chance, less, and the width is the best that is left.
    return (upper_2 / lower_2).masked_fill_(lower_2 <= 0, math.inf)


def _rounding(dtype: torch.dtype, x: Tensor) -> float:
    if dtype in ROUNDING:
        return ROUNDING[dtype]
    return TENSORFLOAT32 if x.is_cuda and _coarse() else FLOAT32


def _coarse() -> bool:
    """Whether the user lets float32 products on CUDA be rounded, which then holds for ours too."""
    matmul = torch.backends.cuda.matmul
    precision: str | None = getattr(matmul, "fp32_precision", None)
    if precision is None:  # older torch; newer ones refuse this question once the other has been answered
        allowed: bool = matmul.allow_tf32
        return allowed
    if precision == "none":
        precision = getattr(torch.backends, "fp32_precision", "none")
    return precision == "tf32"
